# SPDX-License-Identifier: Apache-2.0
"""A PostgreSQL that wants GSS: a realm, its key centre and its server in a temporary directory."""
import os
import shutil
import subprocess
import tempfile

import pytest

import harness
from harness import bare_env, free_port, run, wait_for

REALM = "TEST.INVALID"
TOOLS = ("krb5kdc", "kdb5_util", "kadmin.local", "kinit")

KRB5 = """[libdefaults]
 default_realm = {realm}
 dns_lookup_kdc = false
 dns_lookup_realm = false
 rdns = false
 dns_canonicalize_hostname = false
[realms]
 {realm} = {{
  kdc = 127.0.0.1:{port}
 }}
[domain_realm]
 localhost = {realm}
"""

KDC = """[kdcdefaults]
 kdc_listen = 127.0.0.1:{port}
 kdc_tcp_listen = 127.0.0.1:{port}
[realms]
 {realm} = {{
  database_name = {dir}/principal
  key_stash_file = {dir}/stash
  acl_file = {dir}/acl
  supported_enctypes = aes256-cts:normal
 }}
"""


class Realm:
    def __init__(self):
        self.dir, self.port = tempfile.mkdtemp(prefix="atr-krb."), free_port()
        for name, text in (("krb5.conf", KRB5), ("kdc.conf", KDC)):
            with open(os.path.join(self.dir, name), "w", encoding="utf-8") as f:
                f.write(text.format(realm=REALM, port=self.port, dir=self.dir))
        self.env = bare_env(KRB5_CONFIG=self.dir + "/krb5.conf",
                            KRB5_KDC_PROFILE=self.dir + "/kdc.conf",
                            KRB5CCNAME="FILE:" + self.dir + "/cache")
        self.env["PATH"] += ":/usr/sbin"
        self.do("kdb5_util", "create", "-s", "-r", REALM, "-P", "master")
        self.admin("addprinc -pw secret postgres")
        self.admin("addprinc -randkey postgres/localhost")
        self.admin(f"ktadd -k {self.dir}/keytab postgres/localhost")
        self.process = subprocess.Popen(["krb5kdc", "-n", "-r", REALM], env=self.env, cwd="/",
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for(self.gives_tickets, "the key centre", 10)
        except AssertionError:
            self.stop()
            raise

    def do(self, *argv, **more):
        return subprocess.run(argv, env=self.env, cwd="/", check=True, capture_output=True,
                              timeout=60, **more)

    def admin(self, command):
        self.do("kadmin.local", "-r", REALM, "-q", command)

    def gives_tickets(self):
        return subprocess.run(["kinit", "postgres"], input=b"secret\n", env=self.env, timeout=20,
                              capture_output=True, check=False).returncode == 0

    def stop(self):
        harness.end(self.process)
        shutil.rmtree(self.dir, ignore_errors=True)


@pytest.fixture(scope="module")
def realm():
    path = os.environ.get("PATH", "") + ":/usr/sbin"
    missing = [t for t in TOOLS if not shutil.which(t, path=path)]
    if missing:
        pytest.skip("there is no " + ", ".join(missing))
    made = Realm()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def server(realm):
    keytab = realm.dir + "/keytab"
    env = bare_env(KRB5_CONFIG=realm.dir + "/krb5.conf")
    for name in ("", "/krb5.conf", "/keytab"):  # the server may be another user's
        os.chmod(realm.dir + name, 0o755 if not name else 0o644)
    made = harness.Postgres(settings=("krb_server_keyfile=" + keytab,), server_env=env,
                            hba="hostgssenc all all 127.0.0.1/32 gss include_realm=0\n"
                                "hostnogssenc all all ::1/128 gss include_realm=0\n")
    yield made
    made.stop()


ASK = ["psql", "-X", "-At", "-c",
       "SELECT encrypted, gss_authenticated FROM pg_stat_gssapi WHERE pid = pg_backend_pid()"]


@pytest.mark.parametrize("address, mode, answer", [
    ("127.0.0.1", "require", "t|t"),
    ("::1", "disable", "f|t"),
])
def test_negotiation_is_inside_the_span(receiver, shim, realm, server, address, mode, answer):
    if harness.SAN:
        pytest.skip("libgssapi's modules do not load under a sanitizer")
    env = dict(server.env(), PGHOST="localhost", PGHOSTADDR=address, PGGSSENCMODE=mode,
               KRB5_CONFIG=realm.env["KRB5_CONFIG"], KRB5CCNAME=realm.env["KRB5CCNAME"])
    bare = run(ASK, bare_env(**env)).ok()
    assert bare.out.decode().strip() == answer
    r = run(ASK, shim(**env)).ok()
    assert (r.out, r.err) == (bare.out, bare.raw_err.decode())
    receiver.wait(r.total("exported"))
    connect, = [s for s in receiver.spans if s.name == "connect postgres"]
    query, = [s for s in receiver.spans if s.name.startswith("SELECT")]
    assert not connect.status and connect.attrs["server.address"] == "localhost"
    assert connect.attrs["network.peer.address"] == address
    assert query.attrs["db.response.returned_rows"] == 1 and query.start >= connect.end
    inside = [s for s in receiver.spans if s.parent == connect.span]
    assert "socket connect" in {s.name.rsplit(" ", 1)[0] for s in inside}
    rest = [s for s in receiver.spans if s not in (connect, query, *inside)]
    assert not rest, "and nothing is taken for something else's"
