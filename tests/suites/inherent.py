# SPDX-License-Identifier: Apache-2.0
"""Where what we are for changes a test's verdict, and nothing else does.

A row covers this change of verdict of these tests, and is proven in each run: the
test is run once more with the setting that takes away what the row names, and then its verdict
must be the bare one.
"""
import fnmatch

PROPAGATORS = {"OTEL_PROPAGATORS": "none"}

# suite/job, test (patterns), verdict bare, verdict preloaded, the setting, what the test looks at
TABLE = [
    ("tornado/tests", "*.StreamingChunkSizeTest.test_regular_body", "pass", "fail", PROPAGATORS,
     "where the head of a request ends in reads of 16 bytes: traceparent is in it"),
    ("gevent/pywsgi", "*.TestInvalidEnviron.test", "pass", "fail", PROPAGATORS,
     "a request has no header but Host: it has traceparent"),
    ("twisted/web", "*.CGITests.test_noProxyPassthrough", "pass", "fail", PROPAGATORS,
     "the HTTP_ variables of a CGI script: HTTP_TRACEPARENT is one"),
    ("ruby/net", "HTTPSProxyTest#test_https_proxy_authentication", "pass", "fail", PROPAGATORS,
     "each byte of a CONNECT: traceparent is in it"),
    ("ruby/net", "TestNetHTTPS#test_get_SNI_proxy", "pass", "fail", PROPAGATORS,
     "each byte of a CONNECT: traceparent is in it"),
    ("node/http-*", "*/test-http-blank-header.js", "pass", "fail", PROPAGATORS,
     "all headers of a request: traceparent is one"),
    ("node/http-*", "*/test-http-max-http-headers.js", "pass", "fail", PROPAGATORS,
     "the exact length of a head that is too long: traceparent makes it longer"),
    ("node/http-*", "*/test-http-max-headers-count.js", "pass", "fail", PROPAGATORS,
     "the number of headers of a request: traceparent is one more"),
    ("node/http-*", "*/test-http-client-default-headers-exist.js", "pass", "fail", PROPAGATORS,
     "the names of all headers of a request: traceparent is one of them"),
    ("node/http-*", "*/test-http-client-headers-array.js", "pass", "fail", PROPAGATORS,
     "all headers of a request: traceparent is one of them"),
    ("node/http-*", "*/test-http-content-length.js", "pass", "fail", PROPAGATORS,
     "all headers of a request: traceparent is one of them"),
    ("node/http-*", "*/test-http-header-overflow.js", "pass", "fail", PROPAGATORS,
     "the exact length of a head that is too long: traceparent makes it longer"),
    ("node/http-*", "*/test-http-raw-headers.js", "pass", "fail", PROPAGATORS,
     "all headers of a request: traceparent is one of them"),
    ("node/tls-*", "*/test-tls-over-http-tunnel.js", "pass", "fail", PROPAGATORS,
     "all headers of a CONNECT: traceparent is one of them"),
]


def row(job, test, bare, other, table=None):
    """(settings, reason) where this difference is expected, or None."""
    for where, name, was, becomes, settings, why in TABLE if table is None else table:
        if fnmatch.fnmatchcase(f"{job.suite}/{job.name}", where) and \
                fnmatch.fnmatchcase(test, name) and (was, becomes) == (bare, other):
            return settings, why
    return None
