"""The manifests of deploy/kubernetes are what Kubernetes, the dask operator and orders-dask know.

No API server: the schemas are those of Kubernetes and of the operator's definitions, and what the
operator makes of a DaskCluster is made by its own code.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from dask.utils import parse_bytes

from orders_dask import errors
from orders_dask.settings import Settings, load_settings
from tests.support import REPOSITORY
from tests.support.manifests import (
    MANIFESTS,
    OPERATOR_GROUP,
    Manifest,
    environment_of,
    operated,
    pods,
    problems,
    render,
)
from tests.support.services import is_setting

OVERLAYS = (
    *("base", "job"),
    *("example", "example/init", "example/migrate", "example/backfill"),
)

overlays = pytest.mark.parametrize("overlay", OVERLAYS)


def only(objects: list[Manifest], kind: str, name: str | None = None) -> Manifest:
    """Return the one object of a kind, and of a name where there are several."""
    [found] = [
        each
        for each in objects
        if each["kind"] == kind and name in (None, each["metadata"]["name"])
    ]
    return found


@pytest.fixture(scope="module")
def example() -> list[Manifest]:
    """Return all objects of the example, with those that the operator makes."""
    rendered = [each for overlay in OVERLAYS[2:] for each in render(MANIFESTS / overlay)]
    return rendered + operated(only(rendered, "DaskCluster"))


@pytest.fixture(scope="module")
def example_pods(example: list[Manifest]) -> list[Manifest]:
    return [pod for each in example for pod in pods(each)]


def containers(example_pods: list[Manifest]) -> Iterator[Manifest]:
    for pod in example_pods:
        yield from pod["spec"]["containers"]


@overlays
def test_the_schemas_know_every_field(overlay: str) -> None:
    objects = render(MANIFESTS / overlay)
    assert objects
    assert [problem for each in objects for problem in problems(each)] == []


def test_the_schemas_know_every_field_of_what_the_operator_makes(example: list[Manifest]) -> None:
    made = operated(only(example, "DaskCluster"))
    assert [each["kind"] for each in made] == [
        "Deployment",
        "Service",
        "DaskWorkerGroup",
        "Deployment",
    ]
    assert [problem for each in made for problem in problems(each)] == []


@pytest.mark.parametrize(
    ("file", "right", "wrong"),
    [
        ("base/daily.yaml", "concurrencyPolicy:", "concurencyPolicy:"),
        ("base/daily.yaml", "podFailurePolicy:", "podFailuresPolicy:"),
        ("base/daily.yaml", "onExitCodes:", "onExitCode:"),
        ("base/daily.yaml", "readOnlyRootFilesystem:", "readOnlyRootFileSystem:"),
        ("base/daily.yaml", "backoffLimit: 24", 'backoffLimit: "24"'),
        ("base/network-policy.yaml", "policyTypes:", "policyType:"),
        ("job/job.yaml", "secretName:", "secret:"),
        ("dask-cluster/dask-cluster.yaml", "replicas:", "replica:"),
        ("dask-cluster/dask-cluster.yaml", "minimum:", "min:"),
        ("dask-cluster/dask-cluster.yaml", "readinessProbe:", "readynessProbe:"),
        ("dask-cluster/dask-cluster.yaml", "capabilities:", "capability:"),
        ("dask-cluster/dask-cluster.yaml", "targetPort: tcp-comm", "targetPort: 8786"),
    ],
)
def test_a_misspelt_field_is_found(file: str, right: str, wrong: str, tmp_path: Path) -> None:
    copy = shutil.copytree(MANIFESTS, tmp_path / "kubernetes")
    text = (copy / file).read_text()
    assert right in text
    (copy / file).write_text(text.replace(right, wrong))
    overlay = copy / ("example/backfill" if file.startswith("job/") else "example")
    found = [problem for each in render(overlay) for problem in problems(each)]
    assert any(wrong.partition(":")[0] in problem for problem in found), found


def test_a_field_of_a_pod_that_the_operator_does_not_know_is_found(example: list[Manifest]) -> None:
    cluster = deepcopy(only(example, "DaskCluster"))
    cluster["spec"]["worker"]["spec"]["tolleration"] = []
    assert any("tolleration" in problem for problem in problems(cluster))
    [*_, worker] = operated(cluster)
    assert any("tolleration" in problem for problem in problems(worker))


def test_everything_that_a_pod_refers_to_is_there(
    example: list[Manifest], example_pods: list[Manifest]
) -> None:
    there = {(each["kind"], each["metadata"]["name"]) for each in example}
    for pod in example_pods:
        spec = pod["spec"]
        assert ("ServiceAccount", spec["serviceAccountName"]) in there
        volumes = {volume["name"] for volume in spec["volumes"]}
        for container in spec["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes
            for each in container.get("envFrom", []):
                assert ("ConfigMap", each["configMapRef"]["name"]) in there


def test_jobs_repeat_what_may_pass_and_nothing_else(example: list[Manifest]) -> None:
    kinds = (errors.OrdersDaskError, errors.SettingsError, errors.DataRefused, errors.LoadHeld)
    terminal = {kind.exit_code for kind in kinds}
    repeated = {errors.ServiceUnavailable.exit_code, errors.SourceMissing.exit_code}
    assert not terminal & repeated
    jobs = [
        only(example, "CronJob")["spec"]["jobTemplate"]["spec"],
        only(example, "Job", "orders-dask-init")["spec"],
        only(example, "Job", "orders-dask-backfill")["spec"],
    ]
    for job in jobs:
        ignored, failed = job["podFailurePolicy"]["rules"]
        assert ignored == {
            "action": "Ignore",
            "onPodConditions": [{"type": "DisruptionTarget"}],
        }
        assert failed["action"] == "FailJob"
        codes = failed["onExitCodes"]
        [container] = job["template"]["spec"]["containers"]
        assert codes["containerName"] == container["name"]
        assert (codes["operator"], set(codes["values"])) == ("In", terminal)
        assert job["backoffLimit"] > 0
        assert job["template"]["spec"]["restartPolicy"] == "Never", "the policy asks for it"


def test_every_setting_is_one_of_ours_or_of_a_library(
    example: list[Manifest], example_pods: list[Manifest]
) -> None:
    ours = {str(field.validation_alias) for field in Settings.model_fields.values()}
    documented = (REPOSITORY / "docs" / "settings.md").read_text()
    for container in containers(example_pods):
        names = set(environment_of(container, example)) - ours
        assert {name for name in names if f"`{name}`" not in documented} <= {
            "DASK_WORKER_NAME",
            "DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES",
        }


@pytest.mark.parametrize("overlay", ["base", "example"])
def test_the_settings_are_good(overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in os.environ:
        if is_setting(name):
            monkeypatch.delenv(name)
    objects = render(MANIFESTS / overlay)
    for name, value in only(objects, "ConfigMap")["data"].items():
        monkeypatch.setenv(name, value)
    cron_job = only(objects, "CronJob")["spec"]
    assert load_settings().zone == ZoneInfo(cron_job["timeZone"]), (
        "`--last` counts from yesterday in the shop's zone, so the job starts by it too"
    )


def test_no_secret_is_in_an_environment_or_in_the_manifests(
    example: list[Manifest], example_pods: list[Manifest]
) -> None:
    assert not [each for each in example if each["kind"] == "Secret"]
    for container in containers(example_pods):
        assert not [each for each in container.get("envFrom", []) if "secretRef" in each]
        assert not [each for each in container.get("env", []) if "valueFrom" in each]
        assert "_PGSQL_PASS" not in environment_of(container, example)


def test_the_secrets_are_read_where_they_are_mounted(
    example: list[Manifest], example_pods: list[Manifest]
) -> None:
    for pod in example_pods:
        [container] = pod["spec"]["containers"]
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        variables = environment_of(container, example)
        assert variables.get("ORDERS_DASK_SECRETS_DIR") == mounts.get("secrets")


def test_pods_have_no_right_that_they_do_not_need(example_pods: list[Manifest]) -> None:
    # What the Pod Security Standard "restricted" asks for, and a read-only root.
    assert len(example_pods) == 5
    for pod in example_pods:
        spec = pod["spec"]
        assert spec["securityContext"] == {
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        assert {*spec} & {"hostNetwork", "hostPID", "hostIPC"} == set()
        assert {kind for volume in spec["volumes"] for kind in volume} == {
            "name",
            "emptyDir",
            *(["secret"] if any(volume["name"] == "secrets" for volume in spec["volumes"]) else []),
        }
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
            }
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}
            assert "memory" in container["resources"]["limits"]


def test_every_pod_is_covered_by_the_network_policies(
    example: list[Manifest], example_pods: list[Manifest]
) -> None:
    policies = [each["spec"] for each in example if each["kind"] == "NetworkPolicy"]
    assert len(policies) == 2
    for policy in policies:
        assert policy["policyTypes"] == ["Ingress", "Egress"]
        selected = policy["podSelector"]["matchLabels"].items()
        for pod in example_pods:
            assert selected <= pod["metadata"]["labels"].items()


def test_the_network_policies_allow_what_the_settings_need(example: list[Manifest]) -> None:
    allowed = {
        port["port"]
        for rule in only(example, "NetworkPolicy", "orders-dask")["spec"]["egress"]
        for port in rule["ports"]
    }
    postgres = Settings.model_fields["pgsql_port"].default
    assert allowed == {53, postgres, 443}
    service = only(example, "Service")
    [_, operator] = only(example, "NetworkPolicy", "orders-dask-cluster")["spec"]["ingress"]
    assert {port["port"] for port in operator["ports"]} == {
        port["port"] for port in service["spec"]["ports"]
    }


def test_the_backfill_finds_the_scheduler_of_the_cluster(example: list[Manifest]) -> None:
    service = only(example, "Service")
    [job] = pods(only(example, "Job", "orders-dask-backfill"))
    [container] = job["spec"]["containers"]
    [port] = [p for p in service["spec"]["ports"] if p["name"] == "tcp-comm"]
    assert environment_of(container, example)["DASK_SCHEDULER_ADDRESS"] == (
        f"tcp://{service['metadata']['name']}:{port['port']}"
    )
    scheduler, _ = (each for each in example if each["kind"] == "Deployment")
    [pod] = pods(scheduler)
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    named = {p["name"]: p["containerPort"] for p in pod["spec"]["containers"][0]["ports"]}
    assert {p["targetPort"]: p["port"] for p in service["spec"]["ports"]} == named


def test_a_worker_takes_the_memory_that_its_container_has(example: list[Manifest]) -> None:
    *_, worker = (each for each in example if each["kind"] == "Deployment")
    [container] = worker["spec"]["template"]["spec"]["containers"]
    option = container["args"].index("--memory-limit")
    assert parse_bytes(container["args"][option + 1]) == parse_bytes(
        f"{container['resources']['limits']['memory']}B"
    )


def test_an_overlay_gives_every_container_its_image(example_pods: list[Manifest]) -> None:
    assert {container["image"] for container in containers(example_pods)} == {
        "registry.example.com/orders-dask:0.1.0"
    }


def test_every_kind_of_the_operator_is_in_the_component(example: list[Manifest]) -> None:
    base = render(MANIFESTS / "base")
    assert not [each for each in base if each["apiVersion"] == OPERATOR_GROUP]
    assert only(example, "DaskAutoscaler")["spec"]["cluster"] == "orders-dask"
