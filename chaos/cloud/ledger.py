"""The Cloud's books: which instances there are and which harm is in force, saved before anything else happens."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from chaos.clock import monotonic_s
from chaos.cloud.instances import ActiveEffect, CloudState, Fate, Instance, StateFile
from chaos.cluster_spec import NodeType
from chaos.errors import InjectionError

_STATES_REMEMBERED = 4096


class Ledger:
    """Instances and effects of one cluster; each change is on disk when the method that makes it returns."""

    def __init__(self, file: StateFile) -> None:
        self._file = file
        self._state = file.load()
        self._living = self._state, _living(self._state)
        # Not on disk: a Cloud that was restarted remembers what it found.
        self._past = deque([(monotonic_s(), self._state)], maxlen=_STATES_REMEMBERED)

    # -- instances ------------------------------------------------------------------------------------------

    def instances(self) -> list[Instance]:
        """All instances that are not terminated, the head first."""
        if self._living[0] is not self._state:
            self._living = self._state, _living(self._state)
        return list(self._living[1])

    def state(self) -> object:
        """All of it; another object after each change."""
        return self._state

    def entries(self) -> object:
        """What is said of all instances; another object after each change of one."""
        return self._state.instances

    def instances_at(self, moment_s: float) -> list[Instance]:
        """The same as it was at a moment of the past, or as long ago as there was something: at first the head."""
        before = [state for at_s, state in self._past if at_s <= moment_s]
        then = _living(before[-1] if before else self._past[0][1])
        return then or next((living for _, state in self._past if (living := _living(state))), [])

    def running(self) -> list[Instance]:
        """The instances that run, the head first."""
        return [item for item in self.instances() if item.state == "running"]

    def find(self, instance_id: str) -> Instance | None:
        """An instance, terminated or not, unless it was forgotten."""
        return self._state.instances.get(instance_id)

    def live(self, node: str) -> Instance:
        """The running instance of a node.

        Raises:
            InjectionError: no such live node.
        """
        running = self.running()
        for instance in running:
            if instance.node == node:
                return instance
        names = ", ".join(item.node for item in running)
        raise InjectionError(f"node {node!r} does not run; running: {names or 'none'}")

    def put(self, instance: Instance) -> None:
        """Enters an instance, new or changed."""
        self._save({"instances": {**self._state.instances, instance.instance: instance}})

    def enter_new(
        self, node_type: str, tags: dict[str, str], *, shape: NodeType, now_s: float, fates: Iterable[Fate]
    ) -> list[Instance]:
        """Enters pending instances with the next ids and launch ordinals, one for each fate."""
        entered = [
            Instance(
                instance=f"i-{self._state.next_instance + place:05d}",
                node=f"w{self._state.next_ordinal + place}",
                node_type=node_type,
                state="pending",
                tags=dict(tags),
                shape=shape,
                asked_monotonic_s=now_s,
                boot_at_monotonic_s=now_s + fate.delay_s,
                fate=fate,
            )
            for place, fate in enumerate(fates)
        ]
        self._save(
            {
                "next_instance": self._state.next_instance + len(entered),
                "next_ordinal": self._state.next_ordinal + len(entered),
                "instances": {**self._state.instances, **{item.instance: item for item in entered}},
            }
        )
        return entered

    def renumber(self) -> None:
        """Numbers the living workers from `w1` in launch order, and forgets the terminated."""
        living = self.instances()
        workers = [item for item in living if item.instance != "head"]
        named = {item.instance: item.model_copy(update={"node": f"w{n}"}) for n, item in enumerate(workers, start=1)}
        kept = {item.instance: named.get(item.instance, item) for item in living}
        self._save({"next_ordinal": len(workers) + 1, "instances": kept})

    # -- effects --------------------------------------------------------------------------------------------

    def effects(self) -> list[ActiveEffect]:
        """The harm in force."""
        return list(self._state.effects.values())

    def effect(self, effect_id: str) -> ActiveEffect | None:
        """One effect, while it is in force."""
        return self._state.effects.get(effect_id)

    def effects_on(self, instance_id: str) -> list[ActiveEffect]:
        """The harm in force on one instance."""
        return [effect for effect in self._state.effects.values() if effect.instance == instance_id]

    def put_effect(self, effect: ActiveEffect) -> None:
        """Enters an effect, new or changed."""
        self._save({"effects": {**self._state.effects, effect.effect_id: effect}})

    def drop_effects(self, effect_ids: Iterable[str]) -> None:
        """Strikes effects out."""
        dropped = set(effect_ids)
        if dropped & self._state.effects.keys():
            self._save({"effects": {key: item for key, item in self._state.effects.items() if key not in dropped}})

    # -- the cluster ----------------------------------------------------------------------------------------

    @property
    def kept(self) -> bool:
        """Whether the cluster outlives its starter."""
        return self._state.kept

    def keep(self) -> None:
        """Lets the cluster outlive its starter."""
        self._save({"kept": True})

    def clear(self) -> None:
        """Forgets everything."""
        self._state = CloudState()
        self._file.save(self._state)

    def _save(self, changes: dict[str, object]) -> None:
        self._state = self._state.model_copy(update=changes)
        self._file.save(self._state)
        self._past.append((monotonic_s(), self._state))


def _living(state: CloudState) -> list[Instance]:
    living = [item for item in state.instances.values() if item.state != "terminated"]
    return sorted(living, key=lambda item: (item.instance != "head", item.instance))
