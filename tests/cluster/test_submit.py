"""Jobs sent to a real Ray with token authentication: their output, their exit status, and broken connections."""

from __future__ import annotations

import re
import shlex
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cluster import job_log
from cluster.job_server import JobServer, Unreachable, auth_headers, find_token, is_loopback, resolve_address
from cluster.packaging import Package, choose_files
from cluster.ports import answer_without_token, listening, ray_pids
from cluster.submit import SubmitConfig, check_module, check_places, entrypoint, name_job, submit
from mouse_facelift import cli
from mouse_facelift.config import UsageError
from mouse_facelift.errors import InputError
from tests.live_ray import LiveRay

ROOT = Path(__file__).parents[2]
LINES = 40
# Prints slowly enough for a connection to break in between, and ends with a status of its own.
COUNT = f"import sys, time\nfor i in range({LINES}): print(f'line {{i}}', flush=True); time.sleep(0.1)\nsys.exit(7)"


class Proxy:
    """Passes connections on to a port of this machine, and can cut all of them."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Break every connection that is open now."""
        while self._sockets:
            victim = self._sockets.pop()
            try:
                victim.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def close(self) -> None:
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                return
            self.connections += 1
            self._sockets += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=_pass_on, args=(source, sink), daemon=True).start()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


@pytest.fixture
def token(live_ray: LiveRay, monkeypatch: pytest.MonkeyPatch) -> LiveRay:
    """The cluster, with its token in this process's environment."""
    for name, value in live_ray.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    return live_ray


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A tree small enough to be sent at once, with a module of its own."""
    (tmp_path / "src" / "lab").mkdir(parents=True)
    (tmp_path / "src" / "lab" / "__init__.py").write_text("WHERE = __file__\n")
    (tmp_path / ".env").write_text("SECRET=1\n")
    return tmp_path


def verb(live_ray: LiveRay, *words: str, token: bool = True) -> subprocess.CompletedProcess[str]:
    """Run `mouse-facelift` as a person would."""
    command = [sys.executable, "-m", "mouse_facelift.cli", *words]
    environment = live_ray.environment(token) | {"PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=300)


def here(capfd: pytest.CaptureFixture[str], *words: str) -> subprocess.CompletedProcess[str]:
    """Run `mouse-facelift` in this process, which has the token."""
    capfd.readouterr()
    status = cli.main(words)
    return subprocess.CompletedProcess(words, status, *capfd.readouterr())


@pytest.mark.slow
def test_the_tree_travels_and_the_status_comes_back(
    token: LiveRay, project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shows = "print('lab in', lab.WHERE); print(sorted(os.listdir())); print(os.environ['KIND'])"
    script = f"import lab, os, sys; {shows}; sys.exit(7)"
    config = SubmitConfig(address=token.address, working_dir=project, env=("KIND=quiet",))
    assert submit(config, ["python", "-c", script]) == 7
    said = capfd.readouterr()
    assert re.search(r"^job python-[0-9a-f]{6}: sending 1 files", said.out)
    assert re.search(r"^lab in /.*/working_dir_files/.*/src/lab/__init__.py$", said.out, re.M)
    # `.env` stayed at home.
    assert "\n['src']\nquiet\n" in said.out
    assert re.search(r"job python-\w+ failed, exit status 7\n", said.err)
    assert token.token_file.read_text() not in said.out + said.err


@pytest.mark.slow
def test_a_log_goes_on_where_the_connection_broke(token: LiveRay, project: Path) -> None:
    proxy = Proxy(token.ports["dashboard-port"])
    server = JobServer(proxy.address, patience_s=60)
    server.submit("counts", shlex.join(["python", "-u", "-c", COUNT]), {})
    pieces: list[str] = []

    def write(text: str) -> None:
        pieces.append(text)
        # Twice: early, and when there is a lot to skip.
        if len(pieces) in (2, 6):
            proxy.cut()

    details = job_log.follow(server, "counts", write, patience_s=60)
    lines = [line for line in "".join(pieces).splitlines() if line.startswith("line ")]
    assert lines == [f"line {i}" for i in range(LINES)]
    assert job_log.exit_status(details) == 7
    connections = proxy.connections
    # Somebody who comes later sees all of it, too.
    again: list[str] = []
    job_log.follow(server, "counts", again.append, patience_s=5)
    assert "".join(again) == "".join(pieces) and proxy.connections > connections
    proxy.close()
    with pytest.raises(Unreachable, match="nothing answers at"):
        JobServer(proxy.address, patience_s=0)


@pytest.mark.slow
def test_a_job_outlives_its_client_and_can_be_stopped(
    token: LiveRay, project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("submit", "--address", token.address, "--working-dir", str(project), "--id", "sleeper", "--")
    command = [
        sys.executable,
        "-m",
        "mouse_facelift.cli",
        *words,
        "python",
        "-c",
        "print('asleep', flush=True); import time; time.sleep(600)",
    ]
    client = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=token.environment() | {"PYTHONPATH": str(ROOT / "src")},
    )
    assert client.stdout is not None
    for line in client.stdout:
        if line == "asleep\n":
            break
    client.kill()
    client.wait()
    status = here(capfd, "job", "status", "sleeper", "--address", token.address)
    assert re.match(r"sleeper  RUNNING  \d+ s  python -c ", status.stdout), status.stderr
    taken = here(capfd, *words, "python", "-V")
    assert taken.returncode == 1 and "sleeper already exists" in taken.stderr, taken.stderr
    assert "sleeper stopped" in here(capfd, "job", "stop", "sleeper", "--address", token.address).stdout
    seen = here(capfd, "job", "attach", "sleeper", "--address", token.address)
    assert seen.returncode == job_log.STOPPED and "asleep\n" in seen.stdout
    assert here(capfd, "job", "status", "nobody", "--address", token.address).stderr.startswith("error: http://127")


@pytest.mark.slow
def test_ray_job_submit_needs_nothing_of_ours(live_ray: LiveRay) -> None:
    """The other documented way: Ray's own command, from the project's folder."""
    ray = str(Path(sys.executable).with_name("ray"))
    words = ["job", "submit", "--address", live_ray.address, "--submission-id", "plain", "--working-dir", ".", "--"]
    done = subprocess.run(
        [ray, *words, "python", "-m", "pipelines.preprocess", "--capture", "/absent", "--out", "/tmp/absent-out"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=live_ray.environment(),
        timeout=300,
    )
    assert done.returncode == 1
    assert "error: /absent" in done.stdout and "Job 'plain' failed" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout


@pytest.mark.slow
def test_nothing_is_open_without_the_token(live_ray: LiveRay) -> None:
    ports = listening(ray_pids(str(live_ray.folder)))
    by_number = {port.port: port for port in ports}
    dashboard = by_number[live_ray.ports["dashboard-port"]]
    assert not dashboard.reachable
    answers = {port.port: answer_without_token(port) for port in ports}
    for name in ("dashboard-port", "dashboard-agent-listen-port"):
        assert answers[live_ray.ports[name]] == "refuses", name
    # What answers is Prometheus's pages: numbers, and nothing that can be told to do something.
    for number in (number for number, answer in answers.items() if answer == "answers"):
        assert number in live_ray.metrics_ports
    # The others do not speak HTTP; Ray's own protocol asks for the token as well.
    script = (
        "import sys; from ray._raylet import GcsClient\n"
        f"try: GcsClient(address='{live_ray.gcs_address}').get_all_node_info(timeout=5)\n"
        "except Exception as error: print('refused:', error)\n"
        "else: print('let in')"
    )
    for token, expected in ((False, "refused: "), (True, "let in")):
        environment = live_ray.environment(token)
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=120
        )
        assert done.stdout.startswith(expected), done.stdout + done.stderr
    without = verb(live_ray, "job", "list", "--address", live_ray.address, token=False)
    assert without.returncode == 1 and "wants a token" in without.stderr


def test_the_address_has_one_form() -> None:
    assert resolve_address("", {}) == "http://127.0.0.1:8265"
    assert resolve_address("", {"RAY_API_SERVER_ADDRESS": "head:8265/"}) == "http://head:8265"
    assert resolve_address("https://a.b", {"RAY_API_SERVER_ADDRESS": "head:8265"}) == "https://a.b"
    for wrong in ("ray://head:10001", "http://", "http://head:8265/api"):
        with pytest.raises(InputError, match="is not a dashboard's address"):
            resolve_address(wrong, {})
    with pytest.raises(InputError, match="holds a password") as refusal:
        resolve_address("http://me:sesame@head:8265", {})
    assert "sesame" not in str(refusal.value)


@pytest.mark.parametrize(
    ("address", "own"),
    [
        ("http://localhost:1", True),
        ("http://127.0.0.2:1", True),
        ("http://[::1]:1", True),
        ("http://10.0.0.1:1", False),
    ],
)
def test_own_machine(address: str, own: bool) -> None:
    assert is_loopback(address) is own


def test_the_token_is_found_where_ray_looks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = {"HOME": str(tmp_path)}
    here, there = "http://127.0.0.1:8265", "http://10.0.0.1:8265"
    assert find_token(home) is None
    assert auth_headers(here, home) == {}
    with pytest.raises(InputError, match="needs the cluster's token"):
        auth_headers(there, home)
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("from-home\n")
    (tmp_path / "named").write_text("from-file\n")
    named = home | {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "named")}
    assert auth_headers(here, home) == {"Authorization": "Bearer from-home"}
    assert auth_headers(here, named) == {"Authorization": "Bearer from-file"}
    assert capsys.readouterr().err == ""
    assert auth_headers(there, named | {"RAY_AUTH_TOKEN": "given"}) == {"Authorization": "Bearer given"}
    warned = capsys.readouterr().err
    assert "unencrypted" in warned and "given" not in warned
    assert auth_headers(there, named | {"RAY_AUTH_MODE": "disabled"}) == {}
    with pytest.raises(InputError, match="absent: cannot be read as a token"):
        find_token(home | {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "absent")})


def test_verbs_become_modules() -> None:
    assert entrypoint(["preprocess", "--out", "s3://b/x"])[:4] == ["python", "-m", "pipelines.preprocess", "--out"]
    assert entrypoint(["train", "gslrm", "--data", "/d"]) == ["python", "-m", "training.gslrm", "--data", "/d"]
    assert entrypoint(["python", "x.py"]) == ["python", "x.py"]
    for words, message in (
        ([], "needs a command after --"),
        (["view", "x"], "your own machine"),
        (["preproces"], "did you mean 'preprocess'"),
    ):
        with pytest.raises(UsageError, match=message):
            entrypoint(words)


def test_names_say_what_a_job_is() -> None:
    names = [name_job(["train", "gslrm", "--out=s3://b/runs/Big One?region=x"]) for _ in range(2)]
    assert all(re.fullmatch(r"train-gslrm-big-one-[0-9a-f]{6}", name) for name in names) and names[0] != names[1]
    assert re.fullmatch(r"inspect-[0-9a-f]{6}", name_job(["inspect", "/d"]))


def test_paths_that_mean_something_else_there_are_refused(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    (project / "data").mkdir()
    (project / "own.yaml").write_text("a: 1\n")
    package = choose_files(project)
    check_places(["preprocess", "--config", "own.yaml", "--zoom", "fit", "--out", "/shared/x"], package)
    check_places(["preprocess", "--capture", "/shared/r", "--out=gs://b/x"], package)
    with pytest.raises(InputError, match="--out runs/a: would vanish"):
        check_places(["preprocess", "--out", "runs/a"], package)
    for words in (["preprocess", "--capture", "data"], ["preprocess", "--capture=data"], ["inspect", ".env"]):
        with pytest.raises(InputError, match="stays on this machine"):
            check_places(words, package)


def test_an_old_copy_of_a_verb_never_runs(project: Path) -> None:
    package = choose_files(project)
    with pytest.raises(InputError, match="holds no pipelines/preprocess.py"):
        check_module(["python", "-m", "pipelines.preprocess"], package)
    check_module(["python", "-m", "pytest"], package)
    check_module(
        ["python", "-m", "pipelines.preprocess"], Package(project, (("pipelines/preprocess.py", 1),), package.left_out)
    )


def test_secrets_are_kept_out_of_commands(project: Path) -> None:
    # Put together here, so that no scanner takes it for a real one.
    key = "AKIA" + "ABCDEFGHIJKLMNOP"
    with pytest.raises(InputError, match="--env AWS_ACCESS_KEY_ID looks like an AWS access key") as refusal:
        SubmitConfig(env=(f"AWS_ACCESS_KEY_ID={key}",))
    assert key not in str(refusal.value)
    with pytest.raises(InputError, match="looks like"):
        submit(SubmitConfig(working_dir=project), ["python", "x.py", f"--key={key}"])
    with pytest.raises(InputError, match="NAME=VALUE"):
        SubmitConfig(env=("NAME",))
    with pytest.raises(InputError, match="id 'a b'"):
        SubmitConfig(id="a b")
