"""How the command ends, for whoever types it and for raychaos itself where it starts the command as another process."""

from __future__ import annotations

from collections.abc import Mapping

from chaos.checker import Judgement

EXIT_PASS, EXIT_FAIL, EXIT_USAGE, EXIT_INCONCLUSIVE, EXIT_MACHINE, EXIT_INTERRUPTED = 0, 1, 2, 3, 4, 130
EXIT_OF: Mapping[Judgement, int] = {"pass": EXIT_PASS, "fail": EXIT_FAIL, "inconclusive": EXIT_INCONCLUSIVE}
