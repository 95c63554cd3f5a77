# SPDX-License-Identifier: Apache-2.0
"""CPython's own tests, of the python3 that is installed (Debian: libpython3.X-testsuite)."""
from job import Program
from sources import PYTHON, call

# module, seconds, which of its tests (patterns of regrtest).  The long ones are in parts.
MODULES = [
    ("test_asyncio", 18, ["-m", "test.test_asyncio.test_[a-r]*"]),
    ("test_asyncio", 25, ["-m", "test.test_asyncio.test_s[a-t]*"]),
    ("test_asyncio", 18, ["-m", "test.test_asyncio.test_su*"]),
    ("test_asyncio", 28, ["-m", "test.test_asyncio.test_[t-z]*"]),
    ("test_multiprocessing_fork", 36, ["-m", "*.WithProcesses*"]),
    ("test_multiprocessing_fork", 36, ["-i", "*.WithProcesses*"]),
    ("test_signal", 34, ["-m", "*.SiginterruptTest.*"]),
    ("test_signal", 14, ["-i", "*.SiginterruptTest.*"]),
    ("test_ssl", 40, []),
    ("test_socket", 27, ["-i", "*VSOCK*"]),  # a host without VSOCK hangs in them
    ("test_subprocess", 25, []),
    ("test_selectors", 15, []),
    ("test_threading", 12, []),
    ("test_os", 3, []),
    ("test_httpservers", 2, []),
    ("test_httplib", 1, []),
    ("test_posix", 1, []),
    ("test_socketserver", 1, []),
]
SILENT = {"test_subprocess", "test_threading", "test_posix", "test_signal"}  # nothing we trace
TEST = [PYTHON, "-m", "test", "--junit-xml", "{report}", "--timeout", "140", "-u", "network"]


def again(argv, tests):
    return [*TEST, *(a for t in tests for a in ("-m", t)), argv[-1]]


def jobs(_debian, directory):
    call([PYTHON, "-c", "import test.test_socket"], directory, "the test package of python3")
    return [Program("cpython", " ".join([module, *which]), argv=[*TEST, *which, module],
                    again=again, seconds=seconds, spans=module not in SILENT,
                    dead=seconds < 30 and module != "test_asyncio")
            for module, seconds, which in MODULES]
