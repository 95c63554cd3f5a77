# SPDX-License-Identifier: Apache-2.0
"""One connection and what is said on it, byte for byte, by either side.

    talker.py connect PORT STEPS        talker.py accept STEPS (prints its port)

STEPS is a list in JSON: ["send", text], ["until", text] and ["read", n] (waits until that has
come), ["end"] (waits for the end of the stream), ["shut"] (sends no more), ["sleep", seconds],
["reset"] (closes with a reset); after the last one the connection is closed.  Prints what
came, in JSON.
"""
import json
import socket
import struct
import sys
import time


def converse(s, steps):
    """What came, as text; an error is its name behind it."""
    came = b""
    s.settimeout(10)
    for what, *args in steps:
        at = len(came)
        try:
            if what == "send":
                s.sendall(args[0].encode("latin-1"))
            elif what == "shut":
                s.shutdown(socket.SHUT_WR)
            elif what == "sleep":
                time.sleep(args[0])
            elif what == "reset":
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            while (what == "until" and args[0].encode("latin-1") not in came[at:]) or \
                    (what == "read" and len(came) < at + args[0]) or what == "end":
                data = s.recv(65536)
                if not data:
                    break
                came += data
        except OSError as e:
            return came.decode("latin-1") + type(e).__name__
    return came.decode("latin-1")


def main():
    if sys.argv[1] == "accept":
        with socket.create_server(("127.0.0.1", 0)) as door:
            print(door.getsockname()[1], flush=True)
            s, _ = door.accept()
    else:
        s = socket.create_connection(("127.0.0.1", int(sys.argv[2])), 10)
    with s:
        print(json.dumps(converse(s, json.loads(sys.argv[-1]))), flush=True)


if __name__ == "__main__":
    main()
