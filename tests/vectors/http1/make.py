# SPDX-License-Identifier: Apache-2.0
"""Writes the HTTP/1 messages of this folder and index.json.

    python3 tests/vectors/http1/make.py

NNN-name.http holds what one side of a connection sends, raw.  What is expected of it is said
here by hand, next to it; nothing in this file reads HTTP.  index.json has one object a file:

    file      below this folder; malformed/ holds what must be refused
    kind      request | response
    ok        false: refused, once the messages below are read
    in_body   of a refused file: in the body of the last of them
    messages  in order; of a refused file those whose heads are good
      at, head      where the head begins (behind empty lines) and its length, empty line included
      wire, body    length of the body as sent, and without chunk sizes, trailers and the like
      framing       none | length | chunked | close
      close         the connection is not for another message
      upgrade       Upgrade is there and Connection names it
      method, target            of a request
      status, to                of a response, and the method of the request it answers
    rest      bytes at the end that are no HTTP any more (behind CONNECT, 101)
"""
import json
import os
import shutil

HERE = os.path.dirname(os.path.abspath(__file__))
FRAMINGS = ('none', 'length', 'chunked', 'close')

index = []
count = {True: 0, False: 0}


def lines(*parts, nl=b'\r\n'):
    """A head: its lines, each with its end, and the empty one."""
    return b''.join(part + nl for part in parts) + nl


def chunks(*data, nl=b'\r\n', ext=b'', size=b'%x', trailers=()):
    """(wire, length) of a chunked body."""
    wire = b''.join(size % len(d) + ext + nl + d + nl for d in data)
    wire += b'0' + nl + b''.join(t + nl for t in trailers) + nl
    return wire, sum(map(len, data))


def message(first, *fields, nl=b'\r\n', lead=b'', length=None, chunked=None, to_close=None,
            to='GET',
            close=False, upgrade=False):
    """One message; what frames its body is the one of length, chunked, to_close that is given."""
    m = {'at': len(lead), 'head': len(lines(first, *fields, nl=nl)), 'wire': 0, 'body': 0,
         'framing': 'none', 'close': close, 'upgrade': upgrade}
    wire = b''
    if length is not None:
        m.update(framing='length', wire=len(length), body=len(length))
        wire = length
    elif chunked is not None:
        wire, body = chunked
        m.update(framing='chunked', wire=len(wire), body=body)
    elif to_close is not None:
        m.update(framing='close', wire=len(to_close), body=len(to_close))
        wire = to_close
    assert m['framing'] in FRAMINGS
    if first.startswith(b'HTTP/'):
        m.update(status=int(first[9:12]), to=to)
    else:
        method, target = first.split(b' ')[:2]
        m.update(method=method.decode('latin-1'), target=target.decode('latin-1'))
    return lead + lines(first, *fields, nl=nl) + wire, m


def write(name, kind, ok, raw, messages, **more):
    count[ok] += 1
    path = '%s%03d-%s.http' % ('' if ok else 'malformed/', count[ok], name)
    with open(os.path.join(HERE, path), 'wb') as f:
        f.write(raw)
    index.append({'file': path, 'kind': kind, 'ok': ok, 'messages': messages, **more})


def join(messages):
    raw, found = b'', []
    for part, m in messages:
        found.append({**m, 'at': m['at'] + len(raw)})
        raw += part
    return raw, found


def good(name, *messages, rest=b''):
    raw, found = join(messages)
    kind = 'response' if 'status' in found[0] else 'request'
    write(name, kind, True, raw + rest, found, rest=len(rest))


def bad(name, kind, raw, *before, in_body=False):
    """Refused: raw, behind messages that are good."""
    start, found = join(before)
    write(name, kind, False, start + raw, found, in_body=in_body, rest=0)


HOST = b'Host: example.com'
CHUNKED = b'Transfer-Encoding: chunked'
LOOKS = b'GET /fake HTTP/1.1\r\nHost: evil\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'
ALL = bytes(range(256))


def good_requests():
    get = b'GET / HTTP/1.1'
    post = b'POST /form HTTP/1.1'

    good('get', message(b'GET /index.html?q=1 HTTP/1.1', HOST, b'User-Agent: test/1.0',
                        b'Accept: */*'))
    for method in (b'HEAD', b'DELETE', b'TRACE', b'GET'):
        good(method.decode().lower(), message(method + b' /a/b?c=d&e=%20f HTTP/1.1', HOST))
    for method in (b'POST', b'PUT', b'PATCH', b'DELETE', b'GET', b'OPTIONS'):
        good(method.decode().lower() + '-body',
             message(method + b' /thing HTTP/1.1', HOST, b'Content-Length: 11',
                     length=b'hello world'))
    good('options-asterisk', message(b'OPTIONS * HTTP/1.1', HOST))
    good('connect', message(b'CONNECT example.com:443 HTTP/1.1', b'Host: example.com:443'),
         rest=b'\x16\x03\x01\x02\x00\x01\x00')
    good('connect-ipv6', message(b'CONNECT [2001:db8::1]:443 HTTP/1.1', b'Host: [2001:db8::1]:443'))
    for method in (b'PROPFIND', b'PROPPATCH', b'LOCK', b'REPORT', b'SEARCH', b'MKCALENDAR'):
        good('dav-' + method.decode().lower(),
             message(method + b' /dav/ HTTP/1.1', HOST, b'Depth: 1',
                     b'Content-Type: application/xml',
                     b'Content-Length: 22', length=b'<?xml version="1.0"?>\n'))
    for method in (b'MKCOL', b'COPY', b'MOVE', b'UNLOCK', b'VERSION-CONTROL', b'M-SEARCH', b'PURGE',
                   b'get'):
        good('method-' + method.decode().lower(), message(method + b' /dav/x HTTP/1.1', HOST,
                                                          b'Destination: http://example.com/dav/y'))
    good('method-every-tchar', message(b"!#$%&'*+-.^_`|~09azAZ / HTTP/1.1", HOST))
    good('method-64', message(b'M' * 64 + b' / HTTP/1.1', HOST))
    good('target-absolute', message(b'GET http://user@example.com:8080/p?q#f HTTP/1.1', HOST))
    good('target-odd', message(b'GET /a"b<c>{d}|e\\f^g`h\'[i]?j=%zz# HTTP/1.1', HOST))
    good('target-obs-text', message(b'GET /caf\xc3\xa9/\xff\x80 HTTP/1.1', HOST))
    good('target-long', message(b'GET /' + b'0123456789' * 800 + b' HTTP/1.1', HOST))
    good('target-one-byte', message(b'GET x HTTP/1.1', HOST))
    good('leading-crlf', message(get, HOST, lead=b'\r\n'))
    good('leading-lf', message(get, HOST, lead=b'\n\r\n\n'))
    good('no-fields', message(get))
    good('http-1.0', message(b'GET / HTTP/1.0', close=True))
    good('http-1.0-body', message(b'POST / HTTP/1.0', b'Content-Length: 2', length=b'ab',
                                  close=True))
    good('http-1.0-keep-alive', message(b'GET / HTTP/1.0', b'Connection: Keep-Alive'),
         message(b'GET /2 HTTP/1.0', b'Connection: keep-alive, close', close=True))
    good('connection-close', message(get, HOST, b'Connection: close', close=True))
    good('connection-list', message(get, HOST, b'Connection: foo ,, TE\t,cLoSe', close=True))
    good('connection-fields', message(get, HOST, b'Connection: TE', b'connection: close',
                                      close=True))
    good('connection-no-option', message(get, HOST, b'Connection: closed, not-close, clos'))
    good('connection-folded', message(get, HOST, b'Connection: TE,\r\n close', close=True))
    good('folded', message(get, HOST, b'X-Folded: one\r\n two\r\n\t three', b'X-After: 1'))
    good('folded-from-the-start', message(get, b'Host:\r\n example.com', b'X:\r\n\ty'))
    good('repeated-fields', message(get, HOST, b'Cookie: a=1', b'Cookie: b=2', b'Accept: a',
                                    b'accept: b'))
    good('empty-values', message(get, b'Host:', b'X-A: ', b'X-B:\t \t', b'X-C:'))
    good('blanks-around-values', message(get, b'Host: \t example.com \t ', b'X-Tab: a\tb  c'))
    good('no-blank-before-value', message(get, b'Host:example.com', b'X:y:z: :'))
    good('value-obs-text', message(get, HOST, b'X-Name: J\xfcrgen \xe2\x82\xac'))
    good('name-every-tchar', message(get, HOST, b"!#$%&'*+-.^_`|~09azAZ: x"))
    good('name-cases', message(post, b'hOST: example.com', b'cONTENT-lENGTH: 2', length=b'ab'))
    good('similar-names', message(get, HOST, b'Content-Lengthy: 5', b'Content_Length: 6',
                                  b'XContent-Length: 7',
                                  b'Transfer-Encodin: chunked', b'Transfer.Encoding: chunked'))
    good('lf-only', message(post, HOST, b'Content-Length: 3', nl=b'\n', length=b'abc'),
         message(get, HOST, nl=b'\n'))
    good('line-ends-mixed', message(get, HOST + b'\nX: 1\r\nY: 2\nZ: 3'))
    good('length-0', message(post, HOST, b'Content-Length: 0', length=b''), message(get, HOST))
    good('length-leading-zeros', message(post, HOST, b'Content-Length: 00000000000000000000000003',
                                         length=b'abc'))
    good('length-twice', message(post, HOST, b'Content-Length: 3', b'Content-Length: 3',
                                 length=b'abc'))
    good('length-list', message(post, HOST, b'Content-Length: 3,3 , 03', length=b'abc'))
    good('chunked', message(post, HOST, CHUNKED, chunked=chunks(b'hello', b' ', b'world' * 5)))
    good('chunked-empty', message(post, HOST, CHUNKED, chunked=chunks()), message(get, HOST))
    good('chunked-extensions', message(post, HOST, CHUNKED, chunked=chunks(
        b'abc', b'd', ext=b';name=value;flag ; q="a;\t\\"b\xe9"')))
    good('chunked-trailers', message(post, HOST, CHUNKED, b'Trailer: Digest', chunked=chunks(
        b'abc', trailers=(b'Digest: x', b'X-Empty:', b'X-Folded: a\r\n\tb',
                          b'Content-Length: 99'))),
        message(get, HOST))
    good('chunked-upper-case', message(post, HOST, CHUNKED, chunked=chunks(b'x' * 0xAbC,
                                                                           size=b'%X')))
    good('chunked-leading-zeros', message(post, HOST, CHUNKED, chunked=chunks(b'abc', b'de',
                                                                              size=b'%016x')))
    good('chunked-padded-size', message(post, HOST, CHUNKED, chunked=chunks(b'abc', ext=b' \t ')))
    good('chunked-lf-only', message(post, HOST, CHUNKED, nl=b'\n', chunked=chunks(
        b'abc', b'\n', nl=b'\n', trailers=(b'X: y',))), message(get, HOST, nl=b'\n'))
    good('chunked-single-bytes', message(post, HOST, CHUNKED,
                                         chunked=chunks(*(ALL[i:i + 1] for i in range(256)))))
    good('chunked-body-looks-chunked', message(post, HOST, CHUNKED, chunked=chunks(
        b'0\r\n\r\n', b'\r\n', LOOKS)), message(get, HOST))
    good('chunked-extension-long', message(post, HOST, CHUNKED, chunked=chunks(
        b'a', ext=b';' + b'e' * 16384)))
    good('coding-upper-case', message(post, HOST, b'TRANSFER-ENCODING: CHUNKED',
                                      chunked=chunks(b'abc')))
    good('coding-list', message(post, HOST, b'Transfer-Encoding: gzip ,\tchunked',
                                chunked=chunks(b'\x1f\x8b')))
    good('coding-fields', message(post, HOST, b'Transfer-Encoding: gzip',
                                  b'Transfer-Encoding: chunked',
                                  chunked=chunks(b'\x1f\x8b')))
    good('expect-continue', message(post, HOST, b'Expect: 100-continue', b'Content-Length: 4',
                                    length=b'data'))
    good('websocket', message(b'GET /chat HTTP/1.1', HOST, b'Connection: keep-alive, Upgrade',
                              b'Upgrade: websocket',
                              b'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
                              b'Sec-WebSocket-Version: 13',
                              upgrade=True))
    good('h2c', message(get, HOST, b'Connection: Upgrade, HTTP2-Settings', b'Upgrade: h2c',
                        b'HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA', upgrade=True))
    good('upgrade-not-in-connection', message(get, HOST, b'Upgrade: h2c'))
    good('upgrade-to-nothing', message(get, HOST, b'Connection: upgrade'))
    good('body-of-every-byte', message(post, HOST, b'Content-Length: 256', length=ALL),
         message(get, HOST))
    good('body-of-line-ends', message(post, HOST, b'Content-Length: 8', length=b'\r\n\r\n\n\n\r\r'),
         message(get, HOST))
    good('body-looks-like-a-head', message(post, HOST, b'Content-Length: %d' % len(LOOKS),
                                           length=LOOKS),
         message(b'PUT /next HTTP/1.1', HOST, b'Content-Length: 1', length=b'G'))
    good('pipelined', message(get, HOST), message(b'GET /2 HTTP/1.1', HOST),
         message(b'GET /3 HTTP/1.1', HOST))
    good('pipelined-empty-lines-between', message(post, HOST, b'Content-Length: 1', length=b'x'),
         message(get, HOST, lead=b'\r\n'), message(get, HOST, lead=b'\n'))
    good('trace-headers', message(get, HOST,
                                  b'traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
                                  b'tracestate: a=1,b=2', b'tracestate: c=3', b'baggage: k=v',
                                  b'b3: 0'))
    good('many-fields', message(get, HOST, *(b'X-%d: %d' % (i, i * i) for i in range(500))))
    first = lines(get, HOST, b'X: ')
    good('head-of-64k', message(get, HOST, b'X: ' + b'v' * (65536 - len(first))))


def good_responses():
    ok = b'HTTP/1.1 200 OK'
    five = b'Content-Length: 5'

    good('response', message(ok, b'Server: test', five, length=b'hello'))
    good('response-404', message(b'HTTP/1.1 404 Not Found', five, length=b'hello'))
    good('response-500-close', message(b'HTTP/1.1 500 Oops', b'Connection: close', five,
                                       length=b'hello', close=True))
    good('response-length-0', message(b'HTTP/1.1 205 Reset Content', b'Content-Length: 0',
                                      length=b''),
         message(ok, five, length=b'world'))
    good('response-chunked', message(ok, CHUNKED, chunked=chunks(b'hello', b'x' * 300)),
         message(ok, five, length=b'world'))
    good('response-chunked-trailers', message(ok, CHUNKED, chunked=chunks(
        b'hello', ext=b';a="\\\\"', trailers=(b'Server-Timing: db;dur=1', b'Grpc-Status: 0'))))
    good('response-continue', message(b'HTTP/1.1 100 Continue', to='POST'),
         message(ok, five, length=b'hello', to='POST'))
    good('response-early-hints', message(b'HTTP/1.1 103 Early Hints',
                                         b'Link: </a.css>; rel=preload'),
         message(b'HTTP/1.1 102 Processing'), message(b'HTTP/1.1 103 Early Hints'),
         message(ok, five, length=b'hello'))
    good('response-continue-with-length', message(b'HTTP/1.1 100 Continue', five, to='POST'),
         message(b'HTTP/1.1 201 Created', b'Content-Length: 0', length=b'', to='POST'))
    good('response-switching', message(b'HTTP/1.1 101 Switching Protocols', b'Upgrade: websocket',
                                       b'Connection: Upgrade', upgrade=True), rest=b'\x81\x05hello')
    good('response-204', message(b'HTTP/1.1 204 No Content', to='DELETE'),
         message(ok, five, length=b'hello'))
    good('response-204-with-length', message(b'HTTP/1.1 204 No Content', five),
         message(ok, five, length=b'hello'))
    good('response-304', message(b'HTTP/1.1 304 Not Modified', b'ETag: "x"',
                                 b'Content-Length: 12345'),
         message(b'HTTP/1.1 304 Not Modified', CHUNKED), message(ok, five, length=b'hello'))
    good('response-to-head', message(ok, five, to='HEAD'), message(ok, CHUNKED, to='HEAD'),
         message(ok, to='HEAD'), message(ok, five, length=b'hello'))
    good('response-to-connect', message(b'HTTP/1.1 200 Connection established', to='CONNECT'),
         rest=b'\x16\x03\x03\x00')
    good('response-to-connect-with-length', message(b'HTTP/1.1 299 Fine', five, to='CONNECT'),
         rest=b'SSH-2.0-x\r\n')
    good('response-to-connect-refused', message(b'HTTP/1.1 407 Proxy Authentication Required', five,
                                                length=b'hello',
                                                to='CONNECT'), message(ok, to='CONNECT'))
    good('response-to-close', message(ok, b'Content-Type: text/plain',
                                      to_close=b'all that comes\r\n\r\n' + LOOKS))
    good('response-to-close-empty', message(ok, b'Connection: close', to_close=b'', close=True))
    good('response-1.0', message(b'HTTP/1.0 200 OK', to_close=b'old', close=True))
    good('response-1.0-length', message(b'HTTP/1.0 200 OK', five, length=b'hello', close=True))
    good('response-1.0-keep-alive', message(b'HTTP/1.0 200 OK', b'Connection: keep-alive', five,
                                            length=b'hello'),
         message(b'HTTP/1.0 200 OK', b'Connection: keep-alive', five, length=b'world'))
    good('response-reason-empty', message(b'HTTP/1.1 200 ', five, length=b'hello'))
    good('response-reason-none', message(b'HTTP/1.1 200', five, length=b'hello'),
         message(b'HTTP/1.1 200', five, nl=b'\n', length=b'hello'))
    good('response-reason-odd', message(b'HTTP/1.1 418 I\'m\ta  t\xe9apot: 200 OK', five,
                                        length=b'hello'))
    for status in (b'599', b'600', b'999'):
        good('response-' + status.decode(), message(b'HTTP/1.1 ' + status + b' What', five,
                                                    length=b'hello'))
    good('response-gzip-to-close', message(ok, b'Transfer-Encoding: gzip', to_close=b'\x1f\x8b'))
    good('response-chunked-before-gzip', message(ok, b'Transfer-Encoding: chunked, gzip',
                                                 to_close=b'\x1f\x8b'))
    good('response-gzip-chunked', message(ok, b'Transfer-Encoding: gzip, chunked',
                                          chunked=chunks(b'\x1f\x8b')))
    good('response-coding-wins', message(ok, b'Content-Length: 3', CHUNKED,
                                         chunked=chunks(b'hello')),
         message(ok, CHUNKED, b'Content-Length: 7', chunked=chunks(b'hello')))
    good('response-lf-only', message(ok, b'Server: x', five, nl=b'\n', length=b'hello'),
         message(ok, five, nl=b'\n', length=b'world'))
    good('response-folded', message(ok, b'X-Long: a\r\n b', five, length=b'hello'))
    good('response-body-looks-like-a-head', message(ok, b'Content-Length: %d' % len(LOOKS),
                                                    length=LOOKS),
         message(b'HTTP/1.1 404 No', five, length=b'hello'))
    good('response-pipelined', *(message(b'HTTP/1.1 20%d x' % i, b'Content-Length: %d' % i,
                                         length=b'x' * i)
                                 for i in range(4)))
    good('response-no-fields', message(ok, to_close=b'x'))
    first = lines(ok, five, b'Set-Cookie: ')
    good('response-head-of-64k', message(ok, five, b'Set-Cookie: ' + b'c' * (65536 - len(first)),
                                         length=b'hello'))


def bad_requests():
    def request(name, *fields, first=b'GET / HTTP/1.1'):
        bad(name, 'request', lines(first, *fields))

    def framing(name, *fields, first=b'POST / HTTP/1.1'):
        bad(name, 'request', lines(first, HOST, *fields) + b'5\r\nhello\r\n0\r\n\r\n')

    def body(name, wire):
        raw, m = message(b'POST / HTTP/1.1', HOST, CHUNKED, chunked=(b'', 0))
        bad(name, 'request', wire, (raw, m), in_body=True)

    for name, first in (('http-0.9', b'GET /'), ('http-2-preface', b'PRI * HTTP/2.0'),
                        ('http-2', b'GET / HTTP/2.0'),
                        ('version-lower-case', b'GET / http/1.1'),
                        ('version-letter', b'GET / HTTP/1.x'),
                        ('version-no-digit', b'GET / HTTP/1.'),
                        ('version-two-digits', b'GET / HTTP/1.10'),
                        ('version-of-another', b'DESCRIBE rtsp://x RTSP/1.0'),
                        ('version-03', b'GET / HTTP/01.1'),
                        ('blank-behind-version', b'GET / HTTP/1.1 '),
                        ('two-blanks', b'GET  / HTTP/1.1'),
                        ('two-blanks-behind-target', b'GET /  HTTP/1.1'),
                        ('blank-before-method', b' GET / HTTP/1.1'),
                        ('tab-behind-method', b'GET\t/ HTTP/1.1'),
                        ('blank-in-target', b'GET /a b HTTP/1.1'),
                        ('no-target', b'GET HTTP/1.1'), ('empty-target', b'GET  HTTP/1.1'),
                        ('empty-method', b' / HTTP/1.1'), ('no-method', b'/ HTTP/1.1'),
                        ('control-in-target', b'GET /\x01 HTTP/1.1'),
                        ('nul-in-target', b'GET /\0 HTTP/1.1'),
                        ('del-in-target', b'GET /\x7f HTTP/1.1'),
                        ('tab-in-target', b'GET /\t HTTP/1.1'),
                        ('cr-in-target', b'GET /\r HTTP/1.1'),
                        ('cr-behind-version', b'GET / HTTP/1.1\r'),
                        ('method-no-token', b'G(T / HTTP/1.1'),
                        ('method-obs-text', b'G\xc9T / HTTP/1.1'),
                        ('method-65', b'M' * 65 + b' / HTTP/1.1'),
                        ('response-for-a-request', b'HTTP/1.1 200 OK'),
                        ('tls-hello', b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'),
                        ('redis', b'*1\r\n$4\r\nPING')):
        request(name, HOST, first=first)
    bad('leading-cr', 'request', b'\r' + lines(b'GET / HTTP/1.1', HOST))
    bad('leading-blank-line', 'request', b' \r\n' + lines(b'GET / HTTP/1.1', HOST))
    bad('cr-line-ends', 'request', lines(b'GET / HTTP/1.1', HOST, nl=b'\r') + b'\r\n\r\n')
    for name, field in (('blank-before-colon', b'X : y'), ('tab-before-colon', b'X\t: y'),
                        ('no-colon', b'Xy'),
                        ('no-name', b': y'), ('name-obs-text', b'X\xe9: y'),
                        ('name-nul', b'X\0: y'),
                        ('name-with-parens', b'X(y): z'), ('value-nul', b'X: a\0b'),
                        ('value-bell', b'X: a\x07b'),
                        ('value-del', b'X: a\x7fb'), ('value-vertical-tab', b'X: \x0b'),
                        ('value-escape', b'X: \x1b[0m'),
                        ('value-cr', b'X: a\rb'), ('value-cr-cr', b'X: a\r'),
                        ('value-cr-at-start', b'X:\ra'),
                        ('fold-of-blanks', b'X: y\r\n \t'), ('fold-of-nothing', b'X:\r\n \r\n y'),
                        ('fold-of-blanks-lf', b'X: y\n \nY: z'),
                        ('cr-line', b'X: y\r\n\rZ: y')):
        request(name, HOST, field, b'X-After: 1')
    request('fold-before-first-field', b' Host: example.com')
    request('fold-before-first-field-tab', b'\tHost: example.com', HOST)
    for name, value in (('letters', b'five'), ('negative', b'-5'), ('plus', b'+5'), ('none', b''),
                        ('hex', b'0x5'),
                        ('fraction', b'5.0'), ('blank-within', b'1 2'),
                        ('differs-in-list', b'5, 6'),
                        ('empty-element', b'5,,5'), ('comma-behind', b'5,'),
                        ('comma-before', b',5'),
                        ('semicolon', b'5;5'), ('2-63', b'9223372036854775808'),
                        ('2-64-and-5', b'18446744073709551621'),
                        ('huge', b'9' * 100), ('folded', b'5\r\n 5'), ('folded-before', b'\r\n 5'),
                        ('quoted', b'"5"'),
                        ('obs-text', b'\xb2')):
        framing('length-' + name, b'Content-Length: ' + value)
    framing('length-differs', b'Content-Length: 5', b'X: y', b'content-length: 6')
    framing('length-blank-before-colon', b'Content-Length : 5')
    framing('coding-and-length', CHUNKED, b'Content-Length: 5')
    framing('length-and-coding', b'Content-Length: 5', CHUNKED)
    framing('coding-1.0', CHUNKED, b'Connection: keep-alive', first=b'POST / HTTP/1.0')
    framing('coding-blank-before-colon', b'Transfer-Encoding : chunked')
    for name, value in (('not-chunked', b'gzip'), ('chunked-first', b'chunked, gzip'),
                        ('twice', b'chunked, chunked'),
                        ('identity', b'identity'), ('none', b''), ('empty-element', b', chunked'),
                        ('comma-behind', b'chunked,'), ('parameter', b'chunked;q=1'),
                        ('no-token', b'"chunked"'),
                        ('no-token-2', b'chunked chunked'), ('similar', b'xchunked'),
                        ('similar-2', b'chunke'),
                        ('control', b'\x0bchunked'), ('obs-text', b'chunked\xa0'),
                        ('folded', b'gzip,\r\n chunked'),
                        ('folded-before', b'\r\n chunked')):
        framing('coding-' + name, b'Transfer-Encoding: ' + value)
    framing('coding-twice-in-fields', CHUNKED, CHUNKED)
    framing('coding-chunked-first-in-fields', CHUNKED, b'Transfer-Encoding: identity')

    for name, wire in (('size-none', b'\r\n\r\n'), ('size-blank-before', b' 5\r\nhello\r\n'),
                       ('size-letter', b'5g\r\nhello'),
                       ('size-0x', b'0x5\r\nhello\r\n'), ('size-minus', b'-5\r\nhello\r\n'),
                       ('size-plus', b'+5\r\nhello'),
                       ('size-17-digits', b'00000000000000005\r\nhello\r\n'),
                       ('size-2-63', b'8000000000000000\r\nhello'),
                       ('size-2-64', b'FFFFFFFFFFFFFFFF\r\nhello'), ('size-cr', b'5\rhello\r\n'),
                       ('size-cr-cr', b'5\r\r\nhello\r\n'), ('size-two', b'5 5\r\nhello\r\n'),
                       ('size-nul', b'5\0\r\nhello\r\n'),
                       ('extension-lf', b'5;x\nhello\r\n'),
                       ('extension-cr', b'5;x\ry\r\nhello\r\n'),
                       ('extension-nul', b'5;\0\r\nhello\r\n'),
                       ('extension-nul-lf', b'5;\0\nhello\r\n'),
                       ('extension-without-semicolon', b'5 x=y\r\nhello\r\n'),
                       ('extension-16k', b'5;' + b'x' * 16385 + b'\r\nhello\r\n'),
                       ('size-padded-16k', b'5' + b' ' * 16385 + b'\r\nhello\r\n'),
                       ('data-longer', b'5\r\nhello!\r\n0\r\n\r\n'),
                       ('data-longer-by-line-end', b'5\r\nhello!0\r\n\r\n'),
                       ('data-cr-byte', b'5\r\nhello\rX0\r\n\r\n'),
                       ('data-shorter', b'5\r\nhel\r\n0\r\n\r\n'),
                       ('data-cr', b'5\r\nhello\r0\r\n\r\n'),
                       ('data-no-line-end', b'5\r\nhello0\r\n\r\n'),
                       ('second-size', b'5\r\nhello\r\nx\r\n'),
                       ('trailer-no-colon', b'0\r\nnonsense\r\n\r\n'),
                       ('trailer-no-name', b'0\r\n: x\r\n\r\n'),
                       ('trailer-blank-before-colon', b'0\r\nX : x\r\n\r\n'),
                       ('trailer-fold-first', b'0\r\n X: x\r\n\r\n'),
                       ('trailer-fold-of-blanks', b'0\r\nX: x\r\n \r\n\r\n'),
                       ('trailer-fold-first-behind-extension', b'0;x\r\n X: x\r\n\r\n'),
                       ('trailer-fold-of-blanks-lf', b'0\nX: x\n \n\n'),
                       ('trailer-nul', b'0\r\nX: \0\r\n\r\n'),
                       ('trailer-cr', b'0\r\nX: a\rb\r\n\r\n'),
                       ('trailer-64k', b'0\r\n' + b'X-Trailer: 0123456789\r\n' * 2850 + b'\r\n'),
                       ('trailer-a-request', b'0\r\nGET / HTTP/1.1\r\n\r\n'),
                       ('last-line-end', b'0\r\n\rX\r\n')):
        body('chunk-' + name, wire)
    get = message(b'GET / HTTP/1.1', HOST)
    bad('second-of-two', 'request', lines(b'GET /2 HTTP/1.1', HOST, b'X : y'), get)
    bad('behind-a-longer-body', 'request', b'lo, ' + lines(b'GET /2 HTTP/1.1'),
        message(b'POST / HTTP/1.1', HOST, b'Content-Length: 3', length=b'hel'))


def bad_responses():
    def response(name, *fields, first=b'HTTP/1.1 200 OK'):
        bad('response-' + name, 'response', lines(first, *fields) + b'5\r\nhello\r\n0\r\n\r\n')

    for name, first in (('status-099', b'HTTP/1.1 099 Low'), ('status-000', b'HTTP/1.1 000'),
                        ('status-two-digits', b'HTTP/1.1 20 OK'),
                        ('status-four-digits', b'HTTP/1.1 2000 OK'),
                        ('status-letters', b'HTTP/1.1 2xx OK'), ('status-none', b'HTTP/1.1'),
                        ('status-glued', b'HTTP/1.1 200OK'), ('status-tab', b'HTTP/1.1\t200 OK'),
                        ('status-two-blanks', b'HTTP/1.1  200 OK'),
                        ('status-tab-behind', b'HTTP/1.1 200\tOK'),
                        ('http-2', b'HTTP/2 200 OK'), ('version-lower-case', b'http/1.1 200 OK'),
                        ('shoutcast', b'ICY 200 OK'), ('reason-nul', b'HTTP/1.1 200 O\0K'),
                        ('reason-cr', b'HTTP/1.1 200 O\rK'), ('is-a-request', b'GET / HTTP/1.1'),
                        ('smtp', b'220 mail.example.com ESMTP')):
        response(name, b'Server: x', first=first)
    bad('response-leading-crlf', 'response', b'\r\n' + lines(b'HTTP/1.1 200 OK',
                                                             b'Content-Length: 0'))
    response('blank-before-colon', b'Content-Length : 5')
    response('fold-first', b' Server: x')
    response('length-differs', b'Content-Length: 5', b'Content-Length: 6')
    response('length-letters', b'Content-Length: five')
    response('length-letters-beside-coding', CHUNKED, b'Content-Length: five')
    response('coding-1.0', CHUNKED, first=b'HTTP/1.0 200 OK')
    response('coding-twice', b'Transfer-Encoding: chunked', b'Transfer-Encoding: chunked')
    response('coding-none', b'Transfer-Encoding:')
    response('coding-no-token', b'Transfer-Encoding: "gzip"')
    response('coding-empty-element', b'Transfer-Encoding: gzip,')
    raw, m = message(b'HTTP/1.1 200 OK', CHUNKED, chunked=(b'', 0))
    bad('response-chunk', 'response', b'5\r\nhello\r\nHTTP/1.1 200 OK\r\n', (raw, m), in_body=True)
    bad('response-behind-204', 'response', b'hello' + lines(b'HTTP/1.1 200 OK'),
        message(b'HTTP/1.1 204 No Content', b'Content-Length: 5'))


def main():
    for entry in os.listdir(HERE):
        if entry.endswith('.http'):
            os.unlink(os.path.join(HERE, entry))
    shutil.rmtree(os.path.join(HERE, 'malformed'), ignore_errors=True)
    os.mkdir(os.path.join(HERE, 'malformed'))
    good_requests()
    good_responses()
    bad_requests()
    bad_responses()
    with open(os.path.join(HERE, 'index.json'), 'w', encoding='ascii') as f:
        f.write('[\n' + ',\n'.join(map(json.dumps, index)) + '\n]\n')


if __name__ == '__main__':
    main()
