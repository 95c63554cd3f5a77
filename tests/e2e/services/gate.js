// SPDX-License-Identifier: Apache-2.0
// gate.js UPSTREAM-PORT direct|timeout|immediate|fs keep|new|limited
//
// A gateway (programs/gate/gate.h) in plain Node: a call to the upstream is made at once, or
// after a timer, setImmediate() or a file operation; by an agent that keeps connections, by
// none, or by one that has eight and queues what comes when all are taken.
'use strict';
const fs = require('fs');
const http = require('http');

const [port, moment, reuse] = [Number(process.argv[2]), process.argv[3], process.argv[4]];
const agent = {
	keep: () => new http.Agent({ keepAlive: true }),
	new: () => false,
	limited: () => new http.Agent({ keepAlive: true, maxSockets: 8 }),
}[reuse]();
let served = 0, called = 0, inFlight = 0, most = 0;

const table = new Uint32Array(256).map((_, n) => {
	for (let i = 0; i < 8; i++)
		n = n & 1 ? 0xedb88320 ^ n >>> 1 : n >>> 1;
	return n;
});

function crc(data) {
	let c = 0xffffffff;
	for (const b of data)
		c = table[(c ^ b) & 255] ^ c >>> 8;
	return ((c ^ 0xffffffff) >>> 0).toString(16).padStart(8, '0');
}

function call(method, path, content) {
	called++;
	return new Promise((resolve, reject) => {
		const headers = method === 'POST' ? { 'Content-Length': content.length } : {};
		const request = http.request({ host: '127.0.0.1', port, path, method, agent, headers },
			response => {
				const parts = [];
				response.on('data', part => parts.push(part));
				response.on('end', () => resolve(Buffer.concat(parts)));
				response.on('error', reject);
			});
		request.on('error', reject);
		request.end(method === 'POST' ? content : undefined);
	});
}

const pauses = {
	timeout: query => new Promise(go => setTimeout(go, Number(query.get('t')))),
	immediate: () => new Promise(go => setImmediate(go)),
	fs: () => fs.promises.stat(__filename),
};

async function serve(request, content, response) {
	const [path, text] = request.url.split('?');
	const number = path.replace('/r/', '');
	const query = new URLSearchParams(text);
	const n = Number(query.get('n'));
	const parts = [Buffer.from(
		`${number} ${request.method} ${n} ${content.length} ${crc(content)}\n`)];
	for (let k = 0; k < n; k++) {
		if (moment !== 'direct')
			await pauses[moment](query);
		parts.push(await call(request.method, `/item/${number}.${k}?${text}`, content));
	}
	const answer = Buffer.concat(parts);
	response.writeHead(200, { 'Content-Type': 'text/plain', 'Content-Length': answer.length });
	response.end(answer);
	served++;
}

const server = http.createServer((request, response) => {
	const parts = [];
	request.on('error', () => {});
	response.on('error', () => {});
	request.on('data', part => parts.push(part));
	request.on('end', () => {
		most = Math.max(most, ++inFlight);
		serve(request, Buffer.concat(parts), response).catch(() => response.destroy())
			.finally(() => inFlight--);
	});
});
server.keepAliveTimeout = 60000;
server.listen(0, '127.0.0.1', 1024, () => {
	console.log(`listening on 127.0.0.1:${server.address().port}`);
});
process.on('SIGTERM', () => {
	console.log(JSON.stringify({ requests: served, calls: called, in_flight: most }));
	process.exit(0);
});
