"""How Ray is started on the nodes of a cluster: commands, environment, and the autoscaler's configuration."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import yaml

from chaos.cloud.config import CONTAINER_ROOT, SPILL_DIRECTORY, CloudConfig, CloudDirectory, redis_password
from chaos.cloud.driver import NodeLaunch
from chaos.cloud.instances import Instance
from chaos.cluster_spec import ClusterSpec

MARK_VARIABLE = "RAYCHAOS_CLUSTER"
DIRECTORY_VARIABLE = "RAYCHAOS_DIRECTORY"
INSTANCE_VARIABLE = "RAY_CLOUD_INSTANCE_ID"
PROGRAM_VARIABLE = "RAYCHAOS_EXECUTION"
PROVIDER = "chaos.cloud.node_provider.CloudNodeProvider"
COMPOSE_GCS_PORT = 6379
COMPOSE_DASHBOARD_PORT = 8265
REDIS_ADDRESS = "redis:6379"


def autoscaling_file(directory: CloudDirectory) -> Path:
    """Where the autoscaler's configuration lies: in containers the Cloud and the head share one directory."""
    return directory.state / "autoscaling.yaml"


def autoscaling_config(config: CloudConfig, *, cloud_url: str, token_path: str) -> str:
    """Ray's autoscaling configuration for an external provider, as YAML; external ones get almost no defaults."""
    spec = config.spec
    types: dict[str, dict[str, object]] = {
        "head": {
            "resources": _logical(spec.head_resources),
            "node_config": {},
            "min_workers": 0,
            "max_workers": 0,
        }
    }
    for name, node_type in spec.node_types.items():
        types[name] = {
            "resources": _logical(node_type.resources),
            "node_config": {"node_type": name},
            "min_workers": node_type.min_workers,
            "max_workers": node_type.max_workers,
        }
        if node_type.idle_timeout_s is not None:
            types[name]["idle_timeout_s"] = node_type.idle_timeout_s
    lists = (
        "setup_commands",
        "head_setup_commands",
        "worker_setup_commands",
        "initialization_commands",
        "head_start_ray_commands",
        "worker_start_ray_commands",
        "cluster_synced_files",
        "rsync_exclude",
        "rsync_filter",
    )
    return yaml.safe_dump(
        {
            "cluster_name": config.cluster,
            "max_workers": spec.max_workers,
            "idle_timeout_minutes": spec.idle_timeout_s / 60.0,
            "upscaling_speed": spec.upscaling_speed,
            "provider": {
                "type": "external",
                "module": PROVIDER,
                "disable_node_updaters": True,
                "url": cloud_url,
                "token_path": token_path,
            },
            "available_node_types": types,
            "head_node_type": "head",
            **{name: [] for name in lists},
            "file_mounts": {},
            "auth": {},
            "file_mounts_sync_continuously": False,
        },
        sort_keys=False,
    )


def node_environment(config: CloudConfig, *, instance: str, node_type: str) -> dict[str, str]:
    """The variables every process of a node carries."""
    spec = config.spec
    check = spec.health_check
    environment = {
        MARK_VARIABLE: config.mark,
        INSTANCE_VARIABLE: instance,
        "RAY_NODE_TYPE_NAME": node_type,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_enable_autoscaler_v2": "1" if spec.autoscaler == "v2" else "0",
        "AUTOSCALER_UPDATE_INTERVAL_S": str(spec.update_interval_s),
        "RAY_health_check_initial_delay_ms": str(check.initial_delay_ms),
        "RAY_health_check_period_ms": str(check.period_ms),
        "RAY_health_check_timeout_ms": str(check.timeout_ms),
        "RAY_health_check_failure_threshold": str(check.failure_threshold),
        "RAY_enable_worker_prestart": "0",
        "RAY_prestart_worker_first_driver": "0",
        "RAY_raylet_liveness_self_check_interval_ms": "1000",
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
    }
    if config.python_path:
        environment["PYTHONPATH"] = config.python_path
    if config.driver == "docker":
        environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": f"{CONTAINER_ROOT}/secrets/ray-token"}
    return environment | spec.ray_environment


def head_launch(
    config: CloudConfig, directory: CloudDirectory, *, cloud_url: str, address: str, port_of: Callable[[str], int]
) -> NodeLaunch:
    """How to start the head, with the autoscaler in it; `port_of` knows ports by name."""
    in_container = config.driver == "docker"
    temp = f"{config.ray_temp}/head" if not in_container else config.ray_temp
    config_path = str(autoscaling_file(directory))
    spec = config.spec
    argv = [
        *_ray(config),
        "start",
        "--head",
        "--block",
        "--disable-usage-stats",
        f"--port={port_of('gcs')}",
        f"--temp-dir={temp}",
        f"--autoscaling-config={config_path}",
        f"--include-dashboard={'true' if spec.dashboard else 'false'}",
        "--include-log-monitor=false",
        *_amounts(spec, spec.head_resources),
    ]
    environment = node_environment(config, instance="head", node_type="head")
    if address:
        argv += [
            f"--node-ip-address={address}",
            "--dashboard-agent-listen-port=0",
            f"--ray-client-server-port={port_of('client')}",
        ]
        environment["AUTOSCALER_METRIC_PORT"] = str(port_of("autoscaler_metrics"))
        environment["DASHBOARD_METRIC_PORT"] = str(port_of("dashboard_metrics"))
    if spec.gcs_storage == "rocksdb":
        environment |= {"RAY_gcs_storage": "rocksdb", "RAY_gcs_storage_path": str(directory.nodes / "head" / "gcs")}
    if spec.gcs_storage == "redis":
        environment["RAY_REDIS_ADDRESS"] = REDIS_ADDRESS
        argv.append(f"--redis-password={redis_password(directory.ray_token.read_text())}")
    if spec.dashboard:
        argv += [
            f"--dashboard-port={port_of('dashboard')}",
            f"--dashboard-host={'0.0.0.0' if in_container else '127.0.0.1'}",
        ]
    return NodeLaunch(
        argv=tuple(argv),
        environment=environment,
        files={config_path: autoscaling_config(config, cloud_url=cloud_url, token_path=str(directory.token))},
    )


def worker_launch(config: CloudConfig, instance: Instance, *, gcs_address: str, address: str) -> NodeLaunch:
    """How to start a worker, with what its type was when it was asked for."""
    assert instance.shape is not None
    in_container = config.driver == "docker"
    argv = [
        *_ray(config),
        "start",
        "--block",
        "--disable-usage-stats",
        f"--address={gcs_address}",
        f"--temp-dir={config.ray_temp if in_container else f'{config.ray_temp}/{instance.instance}'}",
        "--include-log-monitor=false",
        *_amounts(config.spec, instance.shape.resources),
    ]
    if in_container and instance.shape.disk_limit_mb is not None:
        argv.append(f"--object-spilling-directory={SPILL_DIRECTORY}")
    if address:
        argv += [f"--node-ip-address={address}", "--dashboard-agent-listen-port=0"]
    environment = node_environment(config, instance=instance.instance, node_type=instance.node_type)
    return NodeLaunch(argv=tuple(argv), environment=environment)


def loopback_address(config: CloudConfig, instance: str) -> str:
    """The loopback address of a process node: the head has .1, instances the ones after it, in a cycle."""
    return f"{config.subnet}.{1 if instance == 'head' else 2 + (int(instance.removeprefix('i-')) - 1) % 249}"


def _ray(config: CloudConfig) -> list[str]:
    if config.driver == "docker":
        return ["ray"]
    return [sys.executable, "-c", "from ray.scripts.scripts import main; main()"]


def _amounts(spec: ClusterSpec, resources: dict[str, float]) -> list[str]:
    custom = {name: amount for name, amount in resources.items() if name not in ("CPU", "GPU", "memory")}
    return [
        f"--num-cpus={int(resources.get('CPU', 0))}",
        f"--num-gpus={int(resources.get('GPU', 0))}",
        f"--object-store-memory={spec.object_store_mb * 1024 * 1024}",
        *([f"--memory={int(resources['memory'])}"] if "memory" in resources else []),
        *([f"--resources={json.dumps(custom)}"] if custom else []),
    ]


def _logical(resources: dict[str, float]) -> dict[str, float | int]:
    return {name: int(amount) if amount == int(amount) else amount for name, amount in resources.items()}
