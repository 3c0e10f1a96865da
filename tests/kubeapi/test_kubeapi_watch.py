"""Watches: order, resource versions, bookmarks, the initial list, and the 410 that ends a stale one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import urllib3
from kubernetes import watch

from fixtures.kubeapi_server import PATIENCE
from fixtures.kubeapi_widgets import Widgets, install_widgets, make_namespace


class Stream:
    """A raw watch, an event at a time."""

    def __init__(self, kube_api, namespace, query):
        pool = urllib3.PoolManager(ca_certs=str(kube_api.certificate))
        url = f"{kube_api.url}/apis/tests.example.dev/v1/namespaces/{namespace}/widgets?watch=true&{query}"
        headers = {"Authorization": f"Bearer {kube_api.token}"}
        self.response = pool.request("GET", url, headers=headers, preload_content=False, timeout=PATIENCE)
        assert self.response.status == 200
        self.chunks = self.response.stream(65536)
        self.rest = b""

    def next(self) -> dict:
        while b"\n" not in self.rest:
            chunk = next(self.chunks, b"")
            assert chunk, "the watch has ended"
            self.rest += chunk
        line, _, self.rest = self.rest.partition(b"\n")
        return json.loads(line)

    def brief(self, count: int) -> list[tuple[str, str]]:
        return [(event["type"], event["object"]["metadata"]["name"]) for event in (self.next() for _ in range(count))]


def test_the_python_client_sees_every_change_in_order(widgets):
    version = widgets.list()["metadata"]["resourceVersion"]
    widgets.create("a")
    widgets.patch("a", {"spec": {"replicas": 2}})
    widgets.delete("a")
    seen = []
    watcher = watch.Watch()
    for event in watcher.stream(widgets.list, resource_version=version, timeout_seconds=180):
        seen.append((event["type"], event["object"]["spec"]["replicas"]))
        if len(seen) == 3:
            watcher.stop()
    assert seen == [("ADDED", 1), ("MODIFIED", 2), ("DELETED", 2)]


def test_a_watch_follows_what_happens_after_it_began(widgets, shared_kube_api):
    widgets.create("old")
    stream = Stream(shared_kube_api, widgets.namespace, "timeoutSeconds=180")
    assert stream.brief(1) == [("ADDED", "old")]
    widgets.create("new")
    widgets.patch_status("old", {"status": {"phase": "Done"}})
    assert stream.brief(2) == [("ADDED", "new"), ("MODIFIED", "old")]


def test_an_object_that_leaves_the_selection_is_deleted_for_the_watch(widgets, shared_kube_api):
    version = widgets.list()["metadata"]["resourceVersion"]
    stream = Stream(
        shared_kube_api, widgets.namespace, f"labelSelector=team%3Dx&resourceVersion={version}&timeoutSeconds=180"
    )
    widgets.create("a", labels={"team": "x"})
    widgets.create("b")
    widgets.patch("a", {"metadata": {"labels": {"team": "y"}}})
    widgets.patch("b", {"metadata": {"labels": {"team": "x"}}})
    assert stream.brief(3) == [("ADDED", "a"), ("DELETED", "a"), ("ADDED", "b")]


def test_the_initial_list_ends_with_an_annotated_bookmark(widgets, shared_kube_api):
    widgets.create("a")
    query = "sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=180"
    stream = Stream(shared_kube_api, widgets.namespace, query)
    assert stream.brief(1) == [("ADDED", "a")]
    mark = stream.next()
    assert mark["type"] == "BOOKMARK"
    assert mark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


def test_an_idle_watch_gets_bookmarks_that_move_on(make_kube_api):
    kube_api = make_kube_api(options=("--bookmark-seconds", "0.1"))
    with install_widgets(kube_api) as api_client:
        widgets = Widgets(api_client, make_namespace(api_client))
        start = widgets.list()["metadata"]["resourceVersion"]
        stream = Stream(
            kube_api, widgets.namespace, f"allowWatchBookmarks=true&resourceVersion={start}&timeoutSeconds=180"
        )
        first = int(stream.next()["object"]["metadata"]["resourceVersion"])
        other = Widgets(api_client, make_namespace(api_client)).create("elsewhere")
        moved = int(other["metadata"]["resourceVersion"])
        for _ in range(100):
            event = stream.next()
            assert event["type"] == "BOOKMARK"
            if int(event["object"]["metadata"]["resourceVersion"]) >= moved:
                break
        assert int(event["object"]["metadata"]["resourceVersion"]) >= moved > first


def test_a_version_older_than_the_log_is_gone(make_kube_api):
    kube_api = make_kube_api(options=("--watch-log", "10"))
    with install_widgets(kube_api) as api_client:
        widgets = Widgets(api_client, make_namespace(api_client))
        old = widgets.create("a")["metadata"]["resourceVersion"]
        for replicas in range(2, 20):
            widgets.patch("a", {"spec": {"replicas": replicas}})
        event = Stream(kube_api, widgets.namespace, f"resourceVersion={old}&timeoutSeconds=180").next()
        assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")


def test_a_watch_ends_at_its_timeout(widgets, shared_kube_api):
    stream = Stream(shared_kube_api, widgets.namespace, "timeoutSeconds=1")
    assert stream.response.read() == b""


def test_a_watch_as_table_prints_rows(widgets, shared_kube_api):
    widgets.create("a")
    command = [str(Path(sys.executable).parent / "kubectl"), "-n", widgets.namespace, "get", "wd", "-w"]
    environment = os.environ | {"KUBECONFIG": str(shared_kube_api.kubeconfig)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as watching:
        assert watching.stdout.readline().split() == ["NAME", "READY", "REPLICAS", "AGE"]
        assert watching.stdout.readline().split()[:2] == ["a", "1"]
        watching.terminate()
