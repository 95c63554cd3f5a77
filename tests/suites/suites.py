# SPDX-License-Identifier: Apache-2.0
"""The suites there are."""
import concurrent.futures

import cpython
import libuv
import node
import packages
import perl
import ruby
from sources import Unavailable

ALL = {"cpython": cpython.jobs, "tornado": packages.tornado, "trio": packages.trio,
       "gevent": packages.gevent, "twisted": packages.twisted, "perl": perl.jobs,
       "ruby": ruby.jobs, "node": node.jobs, "libuv": libuv.jobs}


def collect(debian, directory, names=()):
    """The jobs that can be run here, and [(suite, why)] of what cannot."""
    def made(suite):
        try:
            return ALL[suite](debian, directory), None
        except Unavailable as e:
            return [], str(e)
    wanted = [s for s in ALL if not names or any(n.split("/")[0] == s for n in names)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        results = list(zip(wanted, pool.map(made, wanted)))
    return [job for _, (jobs, _) in results for job in jobs], \
        [(suite, why) for suite, (_, why) in results if why]
