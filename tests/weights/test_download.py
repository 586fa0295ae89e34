"""Whole and verified, or not at all: against a server that cuts, stalls, lies and moves."""

import hashlib
import multiprocessing
import socket
import sys
import threading

import numpy as np
import pytest

import scratchvgg.weights.download as download
from scratchvgg.weights.download import DownloadError, fetch
from scratchvgg.weights.filelock import file_lock
from scratchvgg.weights.progress import Progress

from .file_server import serve

CONTENT = np.random.default_rng(0).bytes(700_001)
OTHER = np.random.default_rng(1).bytes(700_001)
MD5, SHA256 = hashlib.md5(CONTENT).hexdigest(), hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(download, "_PAUSE", 0)


@pytest.fixture
def server():
    with serve(CONTENT) as pair:
        yield pair


@pytest.fixture
def target(tmp_path):
    return tmp_path / "new" / "file.bin"


def whole(target):
    """The file is there and nothing else is."""
    assert target.read_bytes() == CONTENT
    assert [item.name for item in target.parent.iterdir()] == [target.name]
    return True


@pytest.mark.parametrize("known", [{}, {"size": len(CONTENT)}, {"md5": MD5}, {"md5": MD5.upper()}, {"sha256": SHA256},
                                   {"sha256_prefix": SHA256[:8]}, {"size": len(CONTENT), "md5": MD5, "sha256": SHA256}])
def test_fetches(server, target, known):
    assert fetch(server[0], str(target), **known) == target
    assert whole(target)


def test_a_file_that_fits_is_kept_and_the_network_not_asked(server, target):
    fetch(server[0], target)
    for known in ({}, {"md5": MD5}, {"size": len(CONTENT)}):
        fetch(server[0], target, **known)
    assert len(server[1].requests) == 1


def test_a_file_that_does_not_fit_is_replaced(server, target):
    target.parent.mkdir()
    target.write_bytes(OTHER)
    fetch(server[0], target, md5=MD5)
    assert whole(target)


def test_a_cut_connection_goes_on_where_it_stopped(server, target):
    url, behaviour = server
    behaviour.cuts, behaviour.etag = [100_000, 250_000, 1, 0, 0], '"v1"'
    fetch(url, target, retries=2)
    assert whole(target)
    assert [headers.get("Range") for headers in behaviour.requests] == [
        None, "bytes=100000-", "bytes=350000-", "bytes=350001-", "bytes=350001-", "bytes=350001-"]
    assert all(headers.get("If-Range") == '"v1"' for headers in behaviour.requests[1:])


def test_a_later_call_goes_on_where_an_earlier_stopped(server, target):
    url, behaviour = server
    behaviour.cuts = [300_000, 0]
    with pytest.raises(DownloadError, match="cut after 300,000 of 700,001 bytes"):
        fetch(url, target, md5=MD5, retries=0)
    assert not target.exists() and target.with_name("file.bin.part").stat().st_size == 300_000
    behaviour.cuts = []
    fetch(url, target, md5=MD5)
    assert whole(target) and behaviour.requests[-1]["Range"] == "bytes=300000-"


def test_an_old_part_is_not_trusted_without_a_digest(server, target):
    target.parent.mkdir()
    target.with_name("file.bin.part").write_bytes(OTHER[:1000])
    fetch(server[0], target, size=len(CONTENT))
    assert whole(target) and "Range" not in server[1].requests[0]


def test_without_a_digest_or_a_version_a_cut_file_is_begun_anew(server, target):
    url, behaviour = server
    behaviour.cuts = [100_000, 200_000]
    fetch(url, target)
    assert whole(target) and not any("Range" in headers for headers in behaviour.requests)


def test_a_wrong_old_part_is_found_and_fetched_anew(server, target):
    target.parent.mkdir()
    for old in (OTHER[:1000], OTHER, OTHER + b"longer"):
        target.unlink(missing_ok=True)
        target.with_name("file.bin.part").write_bytes(old)
        fetch(server[0], target, size=len(CONTENT), md5=MD5)
        assert whole(target)


def test_a_part_beyond_the_end_of_the_file(server, target):
    target.parent.mkdir()
    target.with_name("file.bin.part").write_bytes(CONTENT + b"more")
    fetch(server[0], target, md5=MD5)  # the server answers 416
    assert whole(target)


def test_a_server_that_ignores_ranges(server, target):
    url, behaviour = server
    behaviour.ranges, behaviour.cuts = False, [100_000, 200_000]
    fetch(url, target, md5=MD5)
    assert whole(target)


def test_a_server_that_always_cuts_at_the_same_place_ends(server, target):
    url, behaviour = server
    behaviour.ranges, behaviour.cuts = False, [100_000] * 50
    with pytest.raises(DownloadError, match="gave up after 3 retries"):
        fetch(url, target, md5=MD5)
    assert len(behaviour.requests) == 5


def test_a_file_that_changes_on_the_way(server, target):
    url, behaviour = server
    behaviour.content, behaviour.etag, behaviour.cuts = OTHER, '"old"', [100_000]
    real = behaviour.requests

    class Switch(list):
        def append(self, headers):
            if real:
                behaviour.content, behaviour.etag = CONTENT, '"new"'
            real.append(headers)

    behaviour.requests = Switch()
    fetch(url, target)
    assert whole(target)


def test_a_server_without_lengths(server, target):
    url, behaviour = server
    behaviour.length = False
    fetch(url, target)
    assert whole(target)
    target.unlink()
    behaviour.cuts = [1000]
    fetch(url, target, size=len(CONTENT), md5=MD5)
    assert whole(target)


def test_a_silent_server_counts_as_cut(server, target):
    url, behaviour = server
    behaviour.stall, behaviour.cuts = threading.Event(), [5_000]
    fetch(url, target, md5=MD5, timeout=0.3)
    assert whole(target) and behaviour.requests[-1]["Range"] == "bytes=5000-"


def test_a_server_that_stays_silent(server, target):
    url, behaviour = server
    behaviour.stall, behaviour.cuts = threading.Event(), [0] * 9
    with pytest.raises(DownloadError, match=r"the server fell silent \(gave up after 1 retries\)"):
        fetch(url, target, timeout=0.2, retries=1)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_failure_is_retried(server, target, status):
    server[1].statuses = [status] * 3
    fetch(server[0], target)
    assert whole(target)


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_not_retried(server, target, status):
    server[1].statuses = [status]
    with pytest.raises(DownloadError, match=f"the server answered {status}"):
        fetch(server[0], target)
    assert len(server[1].requests) == 1 and not target.exists()


def test_redirections_are_followed(server, target):
    server[1].moved = "/elsewhere.bin"
    fetch(server[0], target, md5=MD5)
    assert whole(target)


@pytest.mark.parametrize(("known", "reason"), [
    ({"md5": MD5}, f"its MD5 is {hashlib.md5(OTHER).hexdigest()}, expected {MD5}"),
    ({"sha256": SHA256}, "its SHA256 is"),
    ({"sha256_prefix": SHA256[:8]}, f"expected {SHA256[:8]}…"),
    ({"size": 699_999}, "offers 700,001 bytes, expected 699,999"),
])
def test_wrong_bytes_are_refused_and_removed(server, target, known, reason):
    server[1].content = OTHER
    with pytest.raises(DownloadError, match=reason):
        fetch(server[0], target, **known)
    assert list(target.parent.iterdir()) == [] and len(server[1].requests) == 1


def test_more_bytes_than_expected_are_not_written(server, target):
    server[1].length = False
    with pytest.raises(DownloadError, match="more than 1,000 bytes"):
        fetch(server[0], target, size=1000)
    assert not target.exists() and target.with_name("file.bin.part").stat().st_size <= 1000


def test_a_web_page_is_not_the_file(server, target):
    url, behaviour = server
    behaviour.kind, behaviour.content = "text/html; charset=utf-8", b"<html>please log in</html>"
    with pytest.raises(DownloadError, match="web page instead of the file"):
        fetch(url, target)
    assert list(target.parent.iterdir()) == []
    assert fetch(url, target.with_name("page.html")).read_bytes() == behaviour.content


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_offline_it_says_what_to_get_and_where_to_put_it(target):
    url = f"http://127.0.0.1:{free_port()}/weights.bin"
    with pytest.raises(DownloadError) as caught:
        fetch(url, target, size=1234, md5=MD5)
    for part in ("cannot download file.bin", "refused", f"Get {url} (1,234 bytes, MD5 {MD5})", f"put it at {target.absolute()}"):
        assert part in str(caught.value)
    assert isinstance(caught.value, OSError)


def test_a_wrong_file_that_cannot_be_replaced_is_named(target):
    target.parent.mkdir()
    target.write_bytes(OTHER)
    with pytest.raises(DownloadError, match=f"refused.*The file that is there is another one: its MD5 is \\w+, expected {MD5}. Get http"):
        fetch(f"http://127.0.0.1:{free_port()}/weights.bin", target, md5=MD5)
    assert target.read_bytes() == OTHER


def test_an_unknown_host_fails_at_once(target, monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setattr(download.time, "sleep", lambda _: pytest.fail("retried"))
    with pytest.raises(DownloadError, match="Name or service not known"):
        fetch("https://files.invalid/x", target)


def test_a_local_file(tmp_path, target):
    source = tmp_path / "source with space.bin"
    source.write_bytes(CONTENT)
    fetch(source.as_uri(), target, md5=MD5)
    assert whole(target)
    with pytest.raises(DownloadError, match="No such file"):
        fetch((tmp_path / "nothing").as_uri(), target.with_name("other"))


def test_a_place_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DownloadError, match="cannot download x"):
        fetch(server[0], tmp_path / "file" / "x")


@pytest.mark.parametrize("arguments", [("ftp://host/x", {}), ("/etc/passwd", {}), ("http://h/x", {"md5": "123"}),
                                       ("http://h/x", {"sha256": MD5}), ("http://h/x", {"sha256_prefix": "xyz"})])
def test_unusable_arguments_are_rejected(tmp_path, arguments):
    with pytest.raises(ValueError, match="fetch:"):
        fetch(arguments[0], tmp_path / "x", **arguments[1])


def _fetch_in_process(url, target, barrier, failures):
    try:
        barrier.wait(30)
        fetch(url, target, md5=MD5, progress=False)
    except BaseException as error:
        failures.put(repr(error))


def test_processes_at_once_fetch_one_copy(server, target):
    url, behaviour = server
    context = multiprocessing.get_context("spawn")
    barrier, failures = context.Barrier(3), context.Queue()
    processes = [context.Process(target=_fetch_in_process, args=(url, str(target), barrier, failures)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0] and failures.empty()
    assert whole(target) and len(behaviour.requests) == 1


def test_the_lock_is_held_by_one_at_a_time(tmp_path):
    inside, most, total = 0, 0, 0

    def work():
        nonlocal inside, most, total
        for _ in range(50):
            with file_lock(tmp_path / "x.lock"):
                inside += 1
                most = max(most, inside)
                total += 1
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1 and total == 200 and list(tmp_path.iterdir()) == []


def test_progress_prints_plain_lines_where_there_is_no_terminal(server, target, capsys):
    fetch(server[0], target)
    lines = capsys.readouterr().err.splitlines()
    assert 1 <= len(lines) <= 11 and all(line.startswith("file.bin: ") and "\r" not in line for line in lines)
    assert lines[-1].startswith("file.bin: 0.7 of 0.7 MB (100 %), ") and "MB/s, 0 s left" in lines[-1]
    fetch(server[0], target.with_name("quiet"), progress=False)
    assert capsys.readouterr().err == ""


def test_progress_rewrites_one_line_in_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    shown = Progress("x")
    shown.begin(250_000, 1_000_000)
    shown.update(500_000)
    shown.end(1_000_000)
    printed = capsys.readouterr().err
    assert printed.startswith("x: going on after 0.2 MB\n\r\033[Kx: 0.5 of 1.0 MB (50 %), ")
    assert printed.count("\n") == 2 and printed.endswith("\n")


def test_progress_reckons_rate_and_time_left():
    shown = Progress("x", enabled=False)
    shown.begin(1_000_000, 10_000_000)
    assert shown.line(4_000_000, shown.started + 2) == "x: 4.0 of 10.0 MB (40 %), 1.5 MB/s, 4 s left"
    shown.begin(0, None)
    assert shown.line(4_000_000, shown.started + 2) == "x: 4.0 MB, 2.0 MB/s"
