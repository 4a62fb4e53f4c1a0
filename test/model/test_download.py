"""Checkpoints from the web: exactly what was asked for, whole, once, and nothing else."""

import hashlib
import http.server
import shutil
import ssl
import subprocess
import threading
import urllib.request
from pathlib import Path

import pytest
import torch

from dvlt_ros.checkpoints import download
from dvlt_ros.checkpoints.download import download_checkpoint
from dvlt_ros.errors import WeightsError
from dvlt_ros.model import Dvlt


class Files(http.server.BaseHTTPRequestHandler):
    """Serves a dictionary, and remembers what was asked for."""

    def do_GET(self):
        self.server.asked.append(self.path)
        found = self.server.files.get(self.path)
        if isinstance(found, str):
            self.send_response(302)
            self.send_header("Location", found)
            self.end_headers()
            return
        self.send_response(404 if found is None else 200)
        content = found or b""
        self.send_header("Content-Length", str(self.server.declared or len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files) as found:
        found.files, found.asked, found.declared = {}, [], None
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield found
        found.shutdown()
        thread.join()


@pytest.fixture
def url(server, make_model, tmp_path, monkeypatch):
    """Of a checkpoint with its configuration."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    make_model().save_pretrained(tmp_path / "saved")
    server.files |= {f"/a/{file.name}": file.read_bytes() for file in (tmp_path / "saved").iterdir()}
    return f"http://127.0.0.1:{server.server_port}/a/model.safetensors"


def test_a_checkpoint_comes_as_it_was_saved_and_once(url, server, make_model, tmp_path):
    model = Dvlt.from_pretrained(url)
    for name, value in make_model().state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
    asked = list(server.asked)
    Dvlt.from_pretrained(url)
    assert server.asked == asked == ["/a/config.json", "/a/model.safetensors"]


def test_without_a_configuration_the_weights_tell_it(url, server):
    del server.files["/a/config.json"]
    assert Dvlt.from_pretrained(url).config.embed_dim == 32


def test_the_checksum_decides(url, server, tmp_path):
    digest = hashlib.sha256(server.files["/a/model.safetensors"]).hexdigest()
    assert download_checkpoint(f"{url}#sha256={digest}", tmp_path).is_file()
    with pytest.raises(WeightsError, match=f"SHA-256 is {digest}, expected 0000"):
        download_checkpoint(f"{url}#sha256={'0' * 64}", tmp_path / "other")
    assert not list((tmp_path / "other").rglob("*.safetensors"))
    with pytest.raises(WeightsError, match="64 hexadecimal digits"):
        download_checkpoint(f"{url}#md5=1", tmp_path)


def test_a_changed_file_in_the_cache_is_downloaded_again(url, server, tmp_path):
    digest = hashlib.sha256(server.files["/a/model.safetensors"]).hexdigest()
    path = download_checkpoint(f"{url}#sha256={digest}", tmp_path)
    path.write_bytes(b"changed")
    assert download_checkpoint(f"{url}#sha256={digest}", tmp_path).read_bytes() == server.files["/a/model.safetensors"]


@pytest.mark.parametrize("declared", [None, 10**12])
def test_what_is_too_large_is_refused(url, server, tmp_path, monkeypatch, declared):
    server.declared = declared
    if declared is None:
        monkeypatch.setattr(download, "MAX_BYTES", 1000)
    server.files["/a/config.json"] = None
    with pytest.raises(WeightsError, match="at most"):
        download_checkpoint(url, tmp_path)


def test_a_download_that_ends_early_leaves_nothing(url, server, tmp_path):
    del server.files["/a/config.json"]
    server.declared = len(server.files["/a/model.safetensors"]) + 7
    with pytest.raises(WeightsError, match=r"ended after|cannot be downloaded"):
        download_checkpoint(url, tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("http://example.com/model.safetensors", "only read over https"),
        ("ftp://example.com/model.safetensors", "only read over https"),
        ("https://example.com/model.pth", r"must be a \.safetensors file"),
        ("https://localhost:1/model.safetensors", "cannot be downloaded"),
    ],
)
def test_other_addresses_are_refused_in_one_line(bad, reason, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match=reason) as refused:
        Dvlt.from_pretrained(bad)
    assert bad.split("#")[0].rsplit("/", 1)[0] in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_is_no_safetensors_file_or_is_not_there_is_refused(url, server, tmp_path):
    server.files["/a/model.safetensors"] = b"\x80\x02pickle" * 100
    with pytest.raises(WeightsError, match="not safetensors"):
        download_checkpoint(url, tmp_path)
    with pytest.raises(WeightsError, match="404"):
        download_checkpoint(url.replace("model.", "none."), tmp_path)


def test_a_redirect_leads_nowhere_outside_https(url, server, tmp_path):
    server.files["/a/model.safetensors"] = "http://example.com/model.safetensors"
    with pytest.raises(WeightsError, match="leads to http://example"):
        download_checkpoint(url, tmp_path)


def test_a_redirect_leads_to_this_machine_from_this_machine_alone():
    asked = urllib.request.Request("https://example.com/model.safetensors")
    with pytest.raises(WeightsError, match="leads to http://localhost"):
        download._SafeRedirects().redirect_request(asked, None, 302, "", {}, "http://localhost/model.safetensors")


def test_a_length_that_is_no_number_is_not_believed(url, server, tmp_path):
    server.declared = "many"
    with Path(download_checkpoint(url, tmp_path)).open("rb") as file:
        assert file.read() == server.files["/a/model.safetensors"]


def test_a_cache_that_cannot_be_made_is_named(url, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(WeightsError, match=r"file/\w+: a download cannot be kept there: Not a directory"):
        download_checkpoint(url, tmp_path / "file")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed: no certificate for a server")
def test_over_https_the_certificate_is_checked(url, server, tmp_path, monkeypatch):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    made = ["openssl", "req", "-x509", *curve, "-nodes", "-keyout", key, "-out", certificate, *subject]
    subprocess.run(made, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    secure = url.replace("http://127.0.0.1", "https://localhost")
    with pytest.raises(WeightsError, match="CERTIFICATE_VERIFY_FAILED"):
        download_checkpoint(secure, tmp_path / "cache")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert download_checkpoint(secure, tmp_path / "cache").read_bytes() == server.files["/a/model.safetensors"]
