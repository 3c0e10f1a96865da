"""What a job may read of the host that it runs on, and of the network behind that."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
import torch
from workloads.lora.data.chats import read_table
from workloads.lora.failure import Failure, explain
from workloads.lora.model.base import load_base
from workloads.lora.settings import TINY_MODEL, Dataset

ROWS = "".join(f'{{"instruction": "Say {n}", "output": "{n}"}}\n' for n in range(20))


@pytest.fixture
def datasets_folder(tmp_path, monkeypatch):
    """The only folder that datasets may be read from, beside another user's file."""
    folder = tmp_path / "datasets"
    folder.mkdir()
    (folder / "mine.jsonl").write_text(ROWS)
    (tmp_path / "other.jsonl").write_text(ROWS)
    (tmp_path / "datasets-of-another").mkdir()
    (tmp_path / "datasets-of-another" / "other.jsonl").write_text(ROWS)
    (folder / "out.jsonl").symlink_to(tmp_path / "other.jsonl")
    (folder / "out").symlink_to(tmp_path)
    (folder / "in.jsonl").symlink_to(folder / "mine.jsonl")
    monkeypatch.setenv("LORA_DATASETS", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.mark.parametrize("path", ["{}/mine.jsonl", "{}/in.jsonl", "{}/../datasets/mine.jsonl", "file://{}/mine.jsonl"])
def test_a_file_of_the_datasets_folder_is_read(datasets_folder, path):
    table = read_table(Dataset(path=path.format(datasets_folder)), 1)
    assert [row["output"] for row in table.rows] == [str(n) for n in range(20)]


@pytest.mark.parametrize(
    "path",
    [
        "{}/../other.jsonl",
        "{}/out.jsonl",
        "{}/out/other.jsonl",
        "{}-of-another/other.jsonl",
        "{}/*/other.jsonl",
        "{}/x::file://{}/../other.jsonl",
        "file://{}/../other.jsonl",
        "local://{}/../other.jsonl",
        "simplecache::file://{}/../other.jsonl",
        "https://example.org/x::file://{}/../other.jsonl",
        "other.jsonl",
        "/etc/passwd",
        "/dev/stdin",
    ],
)
def test_a_file_out_of_the_datasets_folder_is_refused(datasets_folder, path):
    with pytest.raises(Failure, match=r"^UnknownDataset: .* is not within .*datasets, .* \(the agent's --datasets\)"):
        read_table(Dataset(path=path.replace("{}", str(datasets_folder))), 1)


@pytest.mark.parametrize("name", ["datasets-of-another", "../", "/etc", "./datasets"])
def test_a_name_that_is_a_folder_of_the_host_is_refused(datasets_folder, name):
    with pytest.raises(Failure, match=r"^UnknownDataset: .* is not within "):
        read_table(Dataset(name=name), 1)


class Pages(BaseHTTPRequestHandler):
    """The rows at `/rows.jsonl`, and at `/to/HOST:PORT` the way to them there."""

    asked: ClassVar[list[str]] = []

    def do_GET(self):
        self.asked.append(self.path)
        self.send_response(302 if self.path.startswith("/to/") else 200)
        if self.path.startswith("/to/"):
            self.send_header("Location", f"http://{self.path.removeprefix('/to/')}/rows.jsonl")
        self.send_header("Content-Length", str(0 if self.path.startswith("/to/") else len(ROWS)))
        self.end_headers()
        if not self.path.startswith("/to/"):
            self.wfile.write(ROWS.encode())

    do_HEAD = do_GET  # noqa: N815  # the library's name

    def log_message(self, *_):
        pass


@pytest.fixture
def pages():
    """An HTTP server on every address of loopback: its port, and what it was asked for."""
    handler = type("Own", (Pages,), {"asked": []})
    server = ThreadingHTTPServer(("", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1], handler.asked
    server.shutdown()
    server.server_close()


def refusal(path: str) -> str:
    """Why a dataset is not read, as the training reports it; its library's error may stand before ours."""
    try:
        read_table(Dataset(path=path), 1)
    except Exception as error:  # noqa: BLE001
        return explain(error).message
    return ""


@pytest.mark.parametrize("networks", [None, "", "10.0.0.0/8", "127.0.0.2/32"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1.2.3", "[0:0:0:0:0:ffff:7f00:1]"])
def test_no_dataset_is_fetched_from_this_host_unless_its_admin_says_so(pages, monkeypatch, networks, host):
    port, asked = pages
    _set(monkeypatch, networks)
    assert refusal(f"http://{host}:{port}/rows.jsonl").endswith(_ADVICE)
    assert asked == []


_ADVICE = "let its admin name the network (the agent's --private-networks), or use a public address"


@pytest.mark.parametrize("networks", [None, ""])
@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80:0:0:0:0:0:0:1]", "224.0.0.1"])
def test_no_dataset_is_fetched_where_a_cloud_gives_out_credentials(monkeypatch, networks, host):
    _set(monkeypatch, networks)
    assert refusal(f"http://{host}/latest/meta-data").endswith(_ADVICE)


@pytest.mark.parametrize(
    "host", ["10.0.0.1", "192.168.1.1", "172.16.0.1", "100.64.0.1", "[fd00:0:0:0:0:0:0:1]", "[2002:a00:1:0:0:0:0:1]"]
)
def test_a_ray_host_fetches_no_dataset_from_its_own_network(monkeypatch, host):
    monkeypatch.setenv("LORA_PRIVATE_NETWORKS", "")
    assert refusal(f"https://{host}/rows.jsonl").endswith(_ADVICE)


def test_a_network_that_the_admin_names_is_fetched_from_and_no_redirect_leads_out_of_it(pages, monkeypatch):
    port, asked = pages
    monkeypatch.setenv("LORA_PRIVATE_NETWORKS", "127.0.0.1/32, 10.0.0.0/8")
    table = read_table(Dataset(path=f"http://127.0.0.1:{port}/rows.jsonl"), 1)
    assert [row["output"] for row in table.rows] == [str(n) for n in range(20)]
    asked.clear()
    assert refusal(f"http://127.0.0.1:{port}/to/127.0.0.2:{port}").endswith(_ADVICE)
    assert {path[:4] for path in asked} == {"/to/"}


@pytest.mark.parametrize(
    "path", ["ftp://127.0.0.1/x", "webhdfs://127.0.0.1/x", "simplecache::http://127.0.0.1/x", "git:///x"]
)
def test_no_other_scheme_leads_into_the_network(path):
    with pytest.raises(Failure, match=r"^UnknownDataset: .* is no address that is read: name a file, or one of abfs, "):
        read_table(Dataset(path=path), 1)


def _set(monkeypatch, networks):
    if networks is None:
        monkeypatch.delenv("LORA_PRIVATE_NETWORKS", raising=False)
    else:
        monkeypatch.setenv("LORA_PRIVATE_NETWORKS", networks)


@pytest.mark.parametrize("name", ["{}-of-another", "{}/out", "/etc", "datasets-of-another", "."])
def test_a_model_out_of_the_models_folder_is_refused(datasets_folder, monkeypatch, name):
    monkeypatch.setenv("LORA_MODELS", str(datasets_folder))
    with pytest.raises(Failure, match=r"^UnknownModel: .* is not within .*datasets, .* \(the agent's --models\)"):
        load_base(name.format(datasets_folder), 1, torch.device("cpu"))


def test_a_model_of_the_models_folder_is_loaded(datasets_folder, monkeypatch):
    monkeypatch.setenv("LORA_MODELS", str(datasets_folder))
    model, tokenizer = load_base(TINY_MODEL, 1, torch.device("cpu"))
    for each in (model, tokenizer):
        each.save_pretrained(datasets_folder / "own")
    again, _ = load_base(str(datasets_folder / "own"), 1, torch.device("cpu"))
    assert again.num_parameters() == model.num_parameters()
