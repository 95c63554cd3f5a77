// SPDX-License-Identifier: Apache-2.0
// A plain service that knows nothing of tracing: POST [{"url": ..., "arguments": ...}, ...]
// and it POSTs each one's arguments to its url, all at once, then answers.
//
//     node w3c_service.js PORT
'use strict';
const http = require('http');

function call(one) {
  return new Promise((resolve, reject) => {
    const body = JSON.stringify(one.arguments);
    const request = http.request(one.url, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) },
    }, (response) => {
      response.resume();
      response.on('end', resolve);
    });
    request.on('error', reject);
    request.end(body);
  });
}

const server = http.createServer((request, response) => {
  const pieces = [];
  request.on('data', (piece) => pieces.push(piece));
  request.on('end', async () => {
    let status = 200;
    try {
      await Promise.all(JSON.parse(Buffer.concat(pieces).toString() || '[]').map(call));
    } catch (error) {
      status = 502;
    }
    response.writeHead(status, { 'Content-Type': 'application/json' });
    response.end('{"done": true}\n');
  });
});
server.listen(Number(process.argv[2]), '127.0.0.1');
