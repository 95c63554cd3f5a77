# SPDX-License-Identifier: Apache-2.0
"""The oracle's client: thousands of requests over interleaved keep-alive connections.

Most requests go alone; some are pipelined, some arrive slowly and in pieces, some are
cut off in the middle.  Every answer is compared byte for byte.
"""
import asyncio
import random
import socket
import struct
import time

from oracle import Sent, body

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends a reset


class Wrong(Exception):
    """An answer is not what it should be."""


class Load:
    """requests: how many; connections: at once; most: per connection (0: any number)."""

    def __init__(self, port, requests, connections=32, seed=1, most=0, calls=(0, 1, 1, 1, 2, 3),
                 delays=(0, 0, 0, 1, 3, 8, 30), piped=0.15, slow=0.08, cut=0.04,
                 chunked=True, answer=Sent.answer, patience=20, salvo=0):
        self.port, self.connections, self.most = port, connections, most
        self.random = random.Random(seed)
        self.calls, self.delays = calls, delays
        self.piped, self.slow, self.cut = piped, slow, cut
        self.chunked, self.answer, self.patience = chunked, answer, patience
        self.salvo = salvo  # ms: each connection's first request takes that long, together
        self.left, self.sent, self.faults = requests, [], []
        self.opened = self.seconds = 0

    # ---- requests ----

    def request(self, piped=False, delay=None, calls=None):
        r = self.random
        n = len(self.sent)
        s = Sent(n, f"{r.getrandbits(128) or 1:032x}", f"{r.getrandbits(64) or 1:016x}",
                 calls=calls or r.choice(self.calls), piped=piped,
                 size=r.choice((0, 1, 10, 300, 300, 2000, r.randrange(20000),
                                r.randrange(20000) if r.random() < .9 else 200000)),
                 delay=r.choice(self.delays) if delay is None else delay)
        if r.random() < 0.3:
            s.method = "POST"
            s.body = body(f"b{n}", r.choice((0, 1, 50, 800, 3000, 20000)))
        s.query = f"n={s.calls}&size={s.size}&delay={s.delay}&f={r.choice('lllcce')}" \
            f"&c={int(r.random() < 0.1)}&p={r.choice((1, 1, 1, 3, 5))}&t={r.choice((1, 2, 5))}"
        self.sent.append(s)
        self.left -= 1
        return s

    def text(self, s):
        """Head and body as they are sent, and where the head ends."""
        r = self.random
        fields = [f"Host: 127.0.0.1:{self.port}",
                  f"{r.choice(('traceparent', 'Traceparent', 'TRACEPARENT'))}: "
                  f"00-{s.trace}-{s.span}-{r.choice(('01', '03'))}"]
        if r.random() < 0.2:
            fields.append("X-Pad: " + "p" * r.randrange(1500))
        if r.random() < 0.5:
            fields.append("User-Agent: oracle")
        content = s.body
        if s.method == "POST":
            if self.chunked and content and r.random() < 0.3:
                fields.append("Transfer-Encoding: chunked")
                half = len(content) // 2
                content = b"".join(b"%x\r\n%s\r\n" % (len(c), c)
                                   for c in (content[:half], content[half:]) if c) + b"0\r\n\r\n"
            else:
                fields.append(f"Content-Length: {len(content)}")
        r.shuffle(fields)
        head = "\r\n".join([f"{s.method} /r/{s.id}?{s.query} HTTP/1.1"] + fields) + "\r\n\r\n"
        return head.encode(), content

    # ---- answers ----

    @staticmethod
    async def answer_of(reader):
        """(status, body, more to come on this connection)"""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        if "\r\ntrace" in head:
            raise Wrong(f"a trace header in an answer: {head!r}")
        first, *lines = head.split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines if line)
        if fields.get("transfer-encoding") == "chunked":
            content = []
            while True:
                size = int((await reader.readuntil(b"\r\n"))[:-2], 16)
                chunk = await reader.readexactly(size + 2)
                if chunk[-2:] != b"\r\n":
                    raise Wrong("a chunk without end")
                if not size:
                    break
                content.append(chunk[:-2])
            content = b"".join(content)
        else:
            content = await reader.readexactly(int(fields["content-length"]))
        return int(first.split(" ")[1]), content, fields.get("connection") != "close"

    async def expect(self, reader, s):
        """Reads the answer to s; whether the connection can go on."""
        status, content, more = await self.answer_of(reader)
        wanted = self.answer(s)
        if status != 200:
            raise Wrong(f"status {status}: {content[:100]!r}")
        if content != wanted:
            at = next((i for i, (a, b) in enumerate(zip(content, wanted)) if a != b),
                      min(len(content), len(wanted)))
            raise Wrong(f"{len(content)} bytes instead of {len(wanted)}, other from byte {at}: "
                        f"{content[at:at + 40]!r} instead of {wanted[at:at + 40]!r}")
        s.answered = True
        return more

    # ---- ways to send ----

    async def slowly(self, writer, head, content):
        cuts = sorted(self.random.sample(range(1, len(head)), self.random.randint(1, 4)))
        for a, b in zip([0] + cuts, cuts + [len(head)]):
            writer.write(head[a:b])
            await asyncio.sleep(self.random.choice((0, 0.001, 0.004)))
        writer.write(content)

    async def cut_off(self, reader, writer):
        """A request that is not awaited, or not even sent to its end."""
        s = self.request(delay=max(self.delays))
        s.cut = True
        head, content = self.text(s)
        how = self.random.choice(("head", "body" if content else "head", "sent", "sent", "answer"))
        s.torn = how in ("head", "body")
        if how == "head":
            writer.write(head[:self.random.randrange(1, len(head))])
        elif how == "body":
            writer.write(head + content[:self.random.randrange(len(content))])
        else:
            writer.write(head + content)
        if how == "answer":
            await asyncio.wait_for(reader.read(10), self.patience)
        else:
            await asyncio.sleep(self.random.choice((0, 0.002, 0.005, 0.015)))
        self.close(writer, self.random.random() < 0.5)

    async def pipeline(self, reader, writer):
        """Several at once; False when the connection ended (as it should)."""
        depth = min(self.random.randint(2, 5), self.left)
        batch = [self.request(piped=True) for _ in range(depth)]
        text = b"".join(b"".join(self.text(s)) for s in batch)
        if self.random.random() < 0.5:
            at = self.random.randrange(len(text))
            writer.write(text[:at])
            await asyncio.sleep(0.001)
            text = text[at:]
        writer.write(text)
        until = self.random.randrange(depth) if self.random.random() < self.cut else depth
        for s in batch[until:]:
            s.cut = True
        for s in batch[:until]:
            await self.checked(reader, s)
        if until < depth:
            self.close(writer, self.random.random() < 0.5)
        return until == depth

    async def checked(self, reader, s):
        try:
            return await asyncio.wait_for(self.expect(reader, s), self.patience)
        except (asyncio.TimeoutError, asyncio.IncompleteReadError, OSError, ValueError, KeyError,
                Wrong) as e:
            self.faults.append(f"request {s.id} ({s.query}): {type(e).__name__} {e}")
            raise Wrong from e

    @staticmethod
    def close(writer, reset):
        sock = writer.get_extra_info("socket")
        if reset and sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        writer.transport.abort() if reset else writer.close()

    # ---- connections ----

    async def connection(self, delay=None, barrier=None):
        """One connection, from its opening until it is used up."""
        reader, writer = await asyncio.wait_for(
            asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20), self.patience)
        self.opened += 1
        done = 0
        try:
            if barrier:
                await barrier()
            while self.left > 0 and (not self.most or done < self.most):
                done += 1
                dice = self.random.random() if delay is None else 1
                if dice < self.cut:
                    await self.cut_off(reader, writer)
                    return
                if dice < self.cut + self.piped and self.left > 1:
                    if not await self.pipeline(reader, writer):
                        return
                    continue
                s = self.request(delay=delay, calls=delay and 1)
                delay = None
                head, content = self.text(s)
                if dice < self.cut + self.piped + self.slow:
                    await self.slowly(writer, head, content)
                elif self.random.random() < 0.5:
                    writer.write(head + content)
                else:
                    writer.write(head)
                    if content:
                        writer.write(content)
                if not await self.checked(reader, s):
                    return
        except Wrong:
            pass
        finally:
            writer.close()

    async def client(self, barrier):
        """Connections one after the other."""
        first = True
        while self.left > 0 and len(self.faults) < 10:
            try:
                if first and self.salvo:
                    await self.connection(self.salvo, barrier)
                else:
                    await self.connection()
            except (OSError, asyncio.TimeoutError) as e:
                self.faults.append(f"connection: {type(e).__name__} {e}")
            first = False

    async def all(self, limit):
        here, go = 0, asyncio.Event()

        async def barrier():
            nonlocal here
            here += 1
            if here == self.connections:
                go.set()
            await asyncio.wait_for(go.wait(), self.patience)

        clients = [asyncio.ensure_future(self.client(barrier)) for _ in range(self.connections)]
        _, late = await asyncio.wait(clients, timeout=limit)
        for one in late:
            one.cancel()
        if late:
            self.faults.append(f"{len(late)} of {self.connections} clients not done in {limit} s")
        await asyncio.gather(*clients, return_exceptions=True)
        for one in clients:
            if not one.cancelled() and one.exception():
                self.faults.append(f"client: {one.exception()!r}")

    def run(self, limit=60):
        began = time.monotonic()
        asyncio.run(self.all(limit))
        self.seconds = time.monotonic() - began
        return self
