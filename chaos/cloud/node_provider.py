"""Ray's side of the Cloud: a node provider that is a thin client of its HTTP API. Ray loads it on the head."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from ray.autoscaler.node_provider import NodeProvider
from ray.autoscaler.tags import TAG_RAY_USER_NODE_TYPE

LIMIT_S = 15.0


class CloudRefused(RuntimeError):
    """The Cloud answered a call with an error, as clouds do."""


class CloudUnreachable(RuntimeError):
    """The Cloud did not answer a call."""


class CloudNodeProvider(NodeProvider):  # type: ignore[misc]
    """Lists, creates and terminates instances of one cluster.

    Configuration: `url` of the Cloud and `token_path` of a file with its bearer token.
    """

    def __init__(self, provider_config: dict[str, Any], cluster_name: str) -> None:
        super().__init__(provider_config, cluster_name)
        self._url = provider_config["url"].rstrip("/")
        self._token = Path(provider_config["token_path"]).read_text().strip()
        self._cache: dict[str, dict[str, Any]] = {}

    def non_terminated_nodes(self, tag_filters: dict[str, str]) -> list[str]:
        """Instance ids whose tags match."""
        listed = self._call("GET", "/provider/instances")["instances"]
        self._cache = {item["instance"]: item for item in listed}
        return [
            item["instance"]
            for item in listed
            if all(item["tags"].get(name) == value for name, value in tag_filters.items())
        ]

    def is_running(self, node_id: str) -> bool:
        """Whether the instance runs."""
        return self._instance(node_id).get("state") == "running"

    def is_terminated(self, node_id: str) -> bool:
        """Whether the instance is gone or going."""
        return self._instance(node_id).get("state") not in ("pending", "running")

    def node_tags(self, node_id: str) -> dict[str, str]:
        """The tags Ray gave the instance."""
        return dict(self._instance(node_id).get("tags", {}))

    def internal_ip(self, node_id: str) -> str | None:
        """The instance's address in the cluster's network."""
        return self._instance(node_id).get("address") or None

    def external_ip(self, node_id: str) -> str | None:
        """The same: there is no outside."""
        return self.internal_ip(node_id)

    def create_node(self, node_config: dict[str, Any], tags: dict[str, str], count: int) -> dict[str, Any]:
        """Asks for `count` instances of one type.

        Raises:
            CloudRefused: some or all were refused; those that were not are launched, and listed from then on.
        """
        node_type = node_config.get("node_type") or tags[TAG_RAY_USER_NODE_TYPE]
        answer = self._call("POST", "/provider/instances", {"node_type": node_type, "count": count, "tags": tags})
        return {item["instance"]: item for item in answer["instances"]}

    def terminate_node(self, node_id: str) -> None:
        """Asks for the end of one instance; asking twice is harmless."""
        self._call("POST", f"/provider/instances/{node_id}/terminate", {})

    def set_node_tags(self, node_id: str, tags: dict[str, str]) -> None:
        """Adds tags to the instance; the Cloud keeps them."""
        self._call("POST", f"/provider/instances/{node_id}/tags", {"tags": tags})

    def _instance(self, node_id: str) -> dict[str, Any]:
        if node_id not in self._cache:
            self.non_terminated_nodes({})
        return self._cache.get(node_id, {})

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        request = urllib.request.Request(
            self._url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=LIMIT_S) as response:
                answer: dict[str, Any] = json.loads(response.read())
                return answer
        except urllib.error.HTTPError as error:
            raise CloudRefused(f"{method} {path}: {error.code} {error.read().decode(errors='replace')}") from error
        except (OSError, http.client.HTTPException) as error:
            raise CloudUnreachable(f"{method} {path}: no answer: {error!r}") from error
