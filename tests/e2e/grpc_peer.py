# SPDX-License-Identifier: Apache-2.0
"""An OTLP/gRPC receiver on gRPC's own library (grpcio, from PyPI), in a process of its own.

As a module: GrpcCollector starts it and reads what it took.  As a program it is the server: one
JSON line on stdout for each call, answers from a script on the command line.
"""
import base64
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import zipfile

SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"
METRICS = "opentelemetry.proto.collector.metrics.v1.MetricsService"


def field(number, payload):
    """A length-delimited protobuf field of less than 128 bytes."""
    assert len(payload) < 128
    return bytes([number << 3 | 2, len(payload)]) + payload


def status_details(code, message, seconds):
    """A google.rpc.Status with a RetryInfo in it, by field numbers."""
    retry = field(1, bytes([1 << 3, seconds]))
    info = field(1, b"type.googleapis.com/google.rpc.RetryInfo") + field(2, retry)
    return bytes([1 << 3, code]) + field(2, message.encode()) + field(3, info)


# ---- the server ----

def serve(settings):
    import grpc
    from concurrent import futures

    script = list(settings["script"])
    lock = threading.Lock()

    def export(body, context):
        with lock:
            answer = script.pop(0) if script else {}
            print(json.dumps({
                "time": time.monotonic(), "metadata": {k: v for k, v in context.invocation_metadata()
                                                       if isinstance(v, str)},
                "remaining": context.time_remaining(), "peer": context.peer(), "answer": answer,
                "body": base64.b64encode(body).decode()}), flush=True)
        if answer.get("sleep"):
            time.sleep(answer["sleep"])
        if "code" in answer:
            context.set_code({c.value[0]: c for c in grpc.StatusCode}[answer["code"]])
            context.set_details(answer.get("message", ""))
            if "retry" in answer:
                context.set_trailing_metadata([(
                    "grpc-status-details-bin",
                    status_details(answer["code"], answer.get("message", ""), answer["retry"]))])
            return b""
        if "rejected" in answer:
            return field(1, bytes([1 << 3, answer["rejected"]]) + field(2, answer["message"].encode()))
        return b""

    def export_metrics(body, context):
        with lock:
            print(json.dumps({"metrics": base64.b64encode(body).decode()}), flush=True)
        return b""

    options = []
    if "max" in settings:
        options.append(("grpc.max_receive_message_length", settings["max"]))
    if "max_age" in settings:  # GOAWAY after that time
        options += [("grpc.max_connection_age_ms", settings["max_age"]),
                    ("grpc.max_connection_age_grace_ms", 2000)]
    server = grpc.server(futures.ThreadPoolExecutor(4), options=options)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, {
        "Export": grpc.unary_unary_rpc_method_handler(export)}),
        grpc.method_handlers_generic_handler(METRICS, {
            "Export": grpc.unary_unary_rpc_method_handler(export_metrics)})])
    if "key" in settings:
        def content(name):
            with open(settings[name], "rb") as f:
                return f.read()
        credentials = grpc.ssl_server_credentials(
            [(content("key"), content("certificate"))],
            root_certificates=content("ca") if "ca" in settings else None,
            require_client_auth="ca" in settings)
        port = server.add_secure_port(settings["address"], credentials)
    else:
        port = server.add_insecure_port(settings["address"])
    server.start()
    print(json.dumps({"port": port}), flush=True)
    sys.stdin.read()  # until who started it lets go
    server.stop(0).wait(5)


# ---- who starts it ----

def grpcio():
    """A folder with grpcio, downloaded once to build/grpc; skips where it cannot be had."""
    import pytest
    from receiver import ROOT

    home = os.path.join(ROOT, "build", "grpc")
    if os.path.isdir(os.path.join(home, "grpc")):
        return home
    os.makedirs(home, exist_ok=True)
    try:
        done = subprocess.run(["/usr/bin/python3", "-m", "pip", "download", "-q", "--only-binary",
                               ":all:", "-d", home, "grpcio"], capture_output=True, text=True,
                              timeout=120, check=False)
    except (OSError, subprocess.TimeoutExpired) as e:
        pytest.skip(f"grpcio cannot be had: {e}")
    wheels = [f for f in os.listdir(home) if f.endswith(".whl")]
    if done.returncode or not wheels:
        pytest.skip("grpcio cannot be had: " + done.stderr.strip()[-200:])
    for wheel in wheels:
        with zipfile.ZipFile(os.path.join(home, wheel)) as z:
            z.extractall(home)
    return home


class GrpcCollector:
    """Settings: address, script, max, max_age, key, certificate, ca."""

    def __init__(self, script=(), address="127.0.0.1:0", **settings):
        import harness

        env = harness.bare_env(PYTHONPATH=grpcio(), GRPC_VERBOSITY="ERROR")
        self.log = tempfile.NamedTemporaryFile(prefix="atr-grpc.")
        settings.update(script=list(script), address=address)
        self.process = subprocess.Popen(
            ["/usr/bin/python3", os.path.abspath(__file__), json.dumps(settings)], env=env,
            stdin=subprocess.PIPE, stdout=self.log, start_new_session=True,
            preexec_fn=harness.die_with_us)
        try:
            harness.wait_for(lambda: self.lines(), "the gRPC server")
        except AssertionError:
            self.stop()
            raise
        self.port = self.lines()[0]["port"]
        self.endpoint = f"http://127.0.0.1:{self.port}"

    def lines(self):
        with open(self.log.name, encoding="utf-8") as f:
            return [json.loads(line) for line in f.read().split("\n")[:-1]]

    def calls(self):
        return [one for one in self.lines()[1:] if "body" in one]

    def metrics(self):
        """The bodies of metrics' calls."""
        return [base64.b64decode(one["metrics"]) for one in self.lines()[1:] if "metrics" in one]

    def spans(self):
        """Of the calls that were taken; each has to be such as a picky collector takes."""
        from receiver import check

        seen, spans = set(), []
        for number, call in enumerate(self.calls()):
            if "code" in call["answer"]:
                continue
            more = check(base64.b64decode(call["body"]), seen, number)
            seen.update(bytes.fromhex(s.span) for s in more)
            spans += more
        return spans

    def stop(self):
        import harness

        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            harness.end(self.process)
        self.log.close()


if __name__ == "__main__":
    serve(json.loads(sys.argv[1]))
