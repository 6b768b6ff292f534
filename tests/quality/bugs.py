"""Bugs to plant in Ray's autoscaler v2: each a few words of one of its functions, replaced for the time of a run."""

from __future__ import annotations

import contextlib
import inspect
import operator
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any
from unittest import mock

from ray.autoscaler.v2 import scheduler
from ray.autoscaler.v2.instance_manager import reconciler
from ray.autoscaler.v2.instance_manager.subscribers import cloud_instance_updater


@dataclass(frozen=True)
class Bug:
    """`was` becomes `now` in one method of a class of Ray's; `was` must be there just once."""

    name: str
    told: str
    module: ModuleType
    method: str
    was: str
    now: str

    @contextlib.contextmanager
    def planted(self) -> Iterator[None]:
        """Ray has the bug.

        Raises:
            ValueError: this release of Ray does not have the line.
        """
        holder, _, name = self.method.rpartition(".")
        owner = operator.attrgetter(holder)(self.module)
        kept = inspect.getattr_static(owner, name)
        source = textwrap.dedent(inspect.getsource(getattr(owner, name)))
        if source.count(self.was) != 1:
            raise ValueError(f"{self.name}: {self.method} has {source.count(self.was)} times {self.was!r}, not once")
        made: dict[str, Any] = {}
        header = "from __future__ import annotations\n"
        exec(
            compile(header + source.replace(self.was, self.now), self.name, "exec"), vars(self.module), made
        )  # Ray's own source, with the bug
        planted = made[name]
        assert isinstance(kept, (staticmethod, classmethod)) == isinstance(planted, (staticmethod, classmethod))
        with mock.patch.object(owner, name, planted):
            yield


BUGS = (
    Bug(
        "request_timeout_unchecked",
        "a launch request that nobody answers is waited for without end",
        reconciler,
        "Reconciler._handle_stuck_requested_instance",
        "if not InstanceUtil.has_timeout(instance, timeout_s):",
        "if True:",
    ),
    Bug(
        "allocate_timeout_unchecked",
        "an instance on which Ray never starts is kept without end",
        reconciler,
        "Reconciler._handle_stuck_instances",
        "reconcile_config.allocate_status_timeout_s,",
        "10**9,",
    ),
    Bug(
        "terminating_timeout_unchecked",
        "a termination that does not happen is waited for without end",
        reconciler,
        "Reconciler._handle_stuck_instances",
        "reconcile_config.terminating_status_timeout_s,",
        "10**9,",
    ),
    Bug(
        "launch_failure_not_counted",
        "a launch that failed is taken for one that is under way",
        reconciler,
        "Reconciler._handle_cloud_instance_allocation",
        "] += error.count",
        "] += 0",
    ),
    Bug(
        "idle_check_inverted",
        "nodes that are not idle are ended as idle",
        scheduler,
        "ResourceDemandScheduler._enforce_idle_termination",
        "if node.idle_duration_ms <= idle_timeout_s * s_to_ms:",
        "if node.idle_duration_ms > idle_timeout_s * s_to_ms:",
    ),
    Bug(
        "idle_timeout_in_milliseconds",
        "the idle timeout's seconds are taken for milliseconds",
        scheduler,
        "ResourceDemandScheduler._enforce_idle_termination",
        "if node.idle_duration_ms <= idle_timeout_s * s_to_ms:",
        "if node.idle_duration_ms <= idle_timeout_s:",
    ),
    Bug(
        "termination_not_retried",
        "a termination that failed is not tried again",
        reconciler,
        "Reconciler._terminate_instances",
        "IMInstance.RAY_INSTALL_FAILED,\n        IMInstance.TERMINATION_FAILED,\n",
        "IMInstance.RAY_INSTALL_FAILED,\n",
    ),
    Bug(
        "request_id_mixed_up",
        "the cloud is asked under another request id than the one that is remembered",
        cloud_instance_updater,
        "CloudInstanceUpdater._launch_new_instances",
        "request_id=launch_request_id\n",
        "request_id=str(uuid.uuid4())\n",
    ),
    Bug(
        "type_maximum_ignored",
        "a node type's max_workers does not limit what is launched",
        scheduler,
        "ResourceDemandScheduler.ScheduleContext._compute_available_node_types",
        "node_type_config.max_worker_nodes - node_type_existing.get(",
        "node_type_config.max_worker_nodes + node_type_existing.get(",
    ),
    Bug(
        "pending_not_counted",
        "launches under way are not counted, so that what is pending is launched again",
        scheduler,
        "SchedulingNode.is_schedulable",
        "InstanceUtil.is_ray_running_reachable(instance.im_instance.status)",
        "instance.im_instance.status == Instance.RAY_RUNNING",
    ),
    Bug(
        "wrong_node_ended",
        "the cloud is asked to end another instance than the one that stopped",
        reconciler,
        "Reconciler._terminate_instances",
        'cloud_instance_id=instance.cloud_instance_id,\n            details="terminating instance from "',
        "cloud_instance_id=max(i.cloud_instance_id for i in im_instances if i.node_kind != NodeKind.HEAD),\n"
        '            details="terminating instance from "',
    ),
    Bug(
        "no_drain",
        "nodes that run are ended in the cloud without a drain",
        reconciler,
        "Reconciler._scale_cluster",
        "    IMInstance.RAY_INSTALLING,\n        ):",
        "    IMInstance.RAY_INSTALLING,\n            IMInstance.RAY_RUNNING,\n        ):",
    ),
    Bug(
        "minimum_ignored",
        "min_workers does not keep a node from being ended as idle",
        scheduler,
        "ResourceDemandScheduler._enforce_idle_termination",
        "min_count = node_type_configs[node_type].min_worker_nodes",
        "min_count = 0",
    ),
    Bug(
        "minimum_never_filled",
        "min_workers does not launch a node in place of one that died",
        scheduler,
        "ResourceDemandScheduler._enforce_min_workers_per_type",
        "if cur_count < min_count:",
        "if cur_count > min_count:",
    ),
    Bug(
        "vanished_instance_kept",
        "an instance that the cloud does not list any more is taken for one that is there",
        reconciler,
        "Reconciler._handle_cloud_instance_terminated",
        "if cloud_instance_id in non_terminated_cloud_instances.keys():",
        "if cloud_instance_id:",
    ),
    Bug(
        "unknown_instance_ignored",
        "an instance that nobody asked for is not taken in",
        reconciler,
        "Reconciler._handle_extra_cloud_instances_from_cloud_provider",
        "if cloud_instance_id in cloud_instance_ids_managed_by_im:",
        "if cloud_instance.node_kind != NodeKind.HEAD or cloud_instance_id in cloud_instance_ids_managed_by_im:",
    ),
    Bug(
        "dead_node_kept",
        "a node that the GCS has declared dead is taken for one that runs",
        reconciler,
        "Reconciler._reconciled_im_status_from_ray_status",
        "reconciled_im_status = IMInstance.RAY_STOPPED",
        "reconciled_im_status = IMInstance.RAY_RUNNING",
    ),
    Bug(
        "stale_row_ended",
        "the row of a node's former life ends the instance of its present one",
        reconciler,
        "Reconciler._terminate_instances",
        "instance.status == IMInstance.RAY_STOPPED\n            and instance",
        "False\n            and instance",
    ),
    Bug(
        "cluster_maximum_ignored",
        "max_workers of the whole cluster does not limit what is launched",
        scheduler,
        "ResourceDemandScheduler._try_schedule",
        "if max_num_nodes is not None and len(target_nodes) >= max_num_nodes:",
        "if False:",
    ),
    Bug(
        "instance_given_twice",
        "two requests are answered with one and the same instance",
        reconciler,
        "Reconciler._try_resolve_pending_allocation",
        "im_instance.instance_type\n        ].pop()",
        "im_instance.instance_type\n        ][-1]",
    ),
)
