# SPDX-License-Identifier: Apache-2.0
"""Packages of PyPI that bring their tests with them.  The versions are pinned."""
import os

from job import Program, driver
from sources import PYTHON, pypi


def again(argv, tests):
    return [*argv, "--", *tests]


TORNADO = """autoreload httpclient httpserver ioloop iostream locks netutil process queues
simple_httpclient tcpclient tcpserver testing web websocket""".split()


def tornado(_debian, directory):
    path = pypi(directory, "tornado==6.4.2")
    argv = [*driver("by_unittest.py"), "{report}", *(f"tornado.test.{m}_test" for m in TORNADO)]
    return [Program("tornado", "tests", argv=argv, again=again, seconds=30, dead=True,
                    env={"PYTHONPATH": path, "ASYNC_TEST_TIMEOUT": "20"})]


TRIO = """dtls highlevel_open_tcp_listeners highlevel_open_tcp_stream highlevel_open_unix_stream
highlevel_serve_listeners highlevel_socket signals socket ssl subprocess threads unix_pipes
wait_for_object""".split()


def trio(_debian, directory):
    path = pypi(directory, "trio==0.27.0", "trustme==1.2.0", "pyOpenSSL==24.2.1")
    argv = [PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junit-xml={report}",
            "-p", "trio._tests.pytest_plugin", f"{path}/trio/_core/_tests",
            *(f"{path}/trio/_tests/test_{m}.py" for m in TRIO)]
    return [Program("trio", "tests", argv=argv, env={"PYTHONPATH": path}, seconds=15)]


GEVENT = """all__ ares_host_result backdoor close_backend_fd core_fork core_stat core_watcher
destroy fileobject greenio hub hub_join issue230 issue600 issue607 issue639 makefile_ref order os
pywsgi select selectors server signal socket socket_close socket_dns6 socket_errors socket_ex
socket_send_memoryview socket_timeout socketpair ssl sslcontext subprocess threadpool""".split()


def gevent(_debian, directory):
    path = pypi(directory, "gevent==24.11.1", "objgraph==3.6.2")
    tests = os.path.join(path, "gevent", "tests")
    return [Program("gevent", name, cwd=tests, again=again, seconds=5, spans=False, limit=100,
                    argv=[*driver("by_unittest.py"), "{report}", f"gevent.tests.test__{name}"],
                    env={"PYTHONPATH": path})
            for name in GEVENT if os.path.exists(f"{tests}/test__{name}.py")]


def twisted(_debian, directory):
    path = pypi(directory, "Twisted==24.11.0", "pyOpenSSL==24.2.1", "service-identity==24.2.0")
    return [Program("twisted", part, env={"PYTHONPATH": path}, seconds=10, again=again,
                    argv=[*driver("by_trial.py"), "{report}", f"twisted.{part}.test"])
            for part in ("internet", "web")]
