// Writes vectors.json: what the stock JavaScript encoders, decoders and server make
// of a set of packets. Run it in a folder that has these installed:
//
//   npm install v3@npm:engine.io-parser@2.2 v4@npm:engine.io-parser@5 engine.io@6
//   NODE_PATH=node_modules node path/to/vectors.js > path/to/vectors.json
'use strict';
const http = require('http');
const { Server } = require('engine.io');
const v3 = require('v3');
const v4 = require('v4');

const text = (type, s) => ({ type, text: s });
const binary = (hex) => ({ type: 'message', hex });
const native = (p) => ({ type: p.type, data: p.hex === undefined ? p.text : Buffer.from(p.hex, 'hex') });
const plain = (p) => (Buffer.isBuffer(p.data) ? binary(p.data.toString('hex')) : text(p.type, p.data ?? ''));
const failed = (p) => p.type === 'error' || p.type === undefined;
const hex = (s) => Buffer.from(s).toString('hex');

const allBytes = Array.from({ length: 256 }, (_, i) => i.toString(16).padStart(2, '0')).join('');
const sets = {
  'each type': [text('open', '{}'), text('close', ''), text('ping', ''), text('pong', 'probe'),
    text('message', 'x'), text('upgrade', ''), text('noop', '')],
  'widths': [text('message', 'é'), text('message', '€'), text('message', '😀'), text('message', 'aé€😀'.repeat(40))],
  'separators and colons': [text('message', '4:4:4'), text('message', 'b4AQ=='), text('message', '\\u001e'),
    text('message', '\n\r\t\\n')],
  'controls': [text('message', '\u0000\u0001\u001f\u007f\u0080\u2028\u2029\ufeff\ufffd\uffff')],
  'binary alone': [binary('01020304')],
  'binary paddings': [binary(''), binary('ff'), binary('fffe'), binary('fffefd')],
  'all byte values': [binary(allBytes)],
  'attachments': [text('message', '51-["bin",{"_placeholder":true,"num":0}]'), binary('00ff1e3a'),
    text('message', '2["after","😀"]'), text('ping', '')],
  'lengths of 9 to 11': [text('message', '12345678'), text('message', '123456789'), text('message', '1234567890'),
    binary('00'.repeat(8)), binary('00'.repeat(9))],
  'lengths of 99 to 101': [text('message', 'x'.repeat(98)), text('message', 'é'.repeat(49)),
    text('message', 'x'.repeat(99)), text('message', 'x'.repeat(100)), binary('aa'.repeat(99))],
  'empty messages': [text('message', ''), binary(''), text('message', '')],
};

const bodies4 = ['4a', '', '4a\x1e', '\x1e4a', '4a\x1e\x1e4b', 'bAQ', 'bAQ=', 'bAQ==', 'b', 'b4AQ', '9', 'a', '4\x1e4',
  '2\x1e3probe\x1e5\x1e6', '4😀\x1ebAQID'];
const bodies3 = ['', '0:', '1:2', '1:20:1:3', '2:4😀', '3:4😀', '4:4😀😀', '5:4😀😀', '2:4€', '4:4€', '1:22:7a', 'b4AQ',
  '6:b4AQID', '2:b4', '1:b', '6:b2AQID', ':', '1:2:4a', '12', '3:4a', '002:4a', '-1:2', '2:4\ufffd'];
const octets3 = ['0001ff34', '0002ff3461', '0005ff34f09f9880', '0103ff0400ff0001ff32', '0101ff04',
  '000201ff34' + '61'.repeat(20), '0006ff623441514944'];

const strings = ['a', '"quoted" \\ back\\\\slash', 'line\nfeed\r\t\b\f\v', '{"text":"a\\nb"}', '\u2028 and \u2029',
  '\u0000\u0001\u001f\u007f\u0080', '</script>&<b>', 'é€😀', '\ufffd\uffff'];

function written() {
  const out = [];
  for (const [name, packets] of Object.entries(sets)) {
    const list = packets.map(native);
    const add = (version, base64) => (wire) =>
      out.push({ name, version, base64, octets: Buffer.isBuffer(wire), packets, wire: hex(wire) });
    v4.encodePayload(list, add(4, true));
    v3.encodePayload(list, false, add(3, true));
    v3.encodePayload(list, true, add(3, false));
  }
  return out;
}

function read() {
  const out = [];
  const add = (version, octets, wire, packets) => out.push({
    version, octets, ok: !packets.some(failed), wire: hex(wire), packets: packets.filter((p) => !failed(p)).map(plain),
  });
  const decode3 = (body) => {
    const packets = [];
    v3.decodePayload(body, (p) => { packets.push(p); });
    return packets;
  };
  for (const s of bodies4) add(4, false, s, v4.decodePayload(s));
  for (const s of bodies3) add(3, false, s, decode3(s));
  for (const h of octets3) add(3, true, Buffer.from(h, 'hex'), decode3(Buffer.from(h, 'hex')));
  return out;
}

// jsonp sends each string through the stock server in both directions. The stock
// client always asks for base64 with JSONP; without that this server would answer
// with a Buffer object in place of a string.
async function jsonp(server, base) {
  const out = [];
  for (const version of [4, 3]) {
    for (const s of strings) {
      const query = `${base}?EIO=${version}&transport=polling&j=7&b64=1`;
      const open = JSON.parse((await (await fetch(query)).text()).slice('___eio[7]('.length, -2));
      const { sid } = JSON.parse(open.slice(open.indexOf('{')));
      const socket = server.clients[sid];
      let got;
      socket.on('message', (m) => { got = m; });
      socket.send(s);
      socket.send(Buffer.from('0102ff', 'hex'));
      const answer = await (await fetch(`${query}&sid=${sid}`)).text();
      // The escaping of the stock client, then what a browser does to a form.
      const payload = version === 4 ? '4' + s : `${s.length + 1}:4${s}`;
      const form = new URLSearchParams({ d: payload.replace(/\\n/g, '\\\n').replace(/\n/g, '\\n') }).toString();
      await fetch(`${query}&sid=${sid}`, {
        method: 'POST', body: form, headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
      });
      if (got !== s) throw new Error(`${JSON.stringify(s)} came as ${JSON.stringify(got)}`);
      out.push({ version, text: s, answer: hex(answer), form: hex(form) });
    }
  }
  return out;
}

async function errors(base) {
  const out = [];
  for (const [method, query] of [
    ['GET', 'EIO=4&transport=nope'],
    ['GET', 'EIO=4&transport=polling&sid=none'],
    ['POST', 'EIO=4&transport=polling'],
    ['GET', 'EIO=4&transport=websocket'],
    ['GET', 'EIO=4&transport=polling&deny'],
  ]) {
    const answer = await fetch(`${base}?${query}`, { method });
    const body = await answer.text();
    out.push({ code: JSON.parse(body).code, status: answer.status, body });
  }
  return out;
}

const web = http.createServer();
const server = new Server({
  allowEIO3: true,
  allowRequest: (req, done) => (req.url.includes('deny') ? done('no "entry" 😀', false) : done(null, true)),
});
server.attach(web, { path: '/engine.io/' });
web.listen(0, '127.0.0.1', async () => {
  const base = `http://127.0.0.1:${web.address().port}/engine.io/`;
  const vectors = {
    written: written(), read: read(), jsonp: await jsonp(server, base), errors: await errors(base),
    open: await (await fetch(`${base}?EIO=4&transport=polling`)).text(),
  };
  const lines = (list) => '[\n' + list.map((v) => JSON.stringify(v)).join(',\n') + '\n]';
  console.log('{\n' + Object.entries(vectors).map(([name, v]) =>
    `${JSON.stringify(name)}: ${Array.isArray(v) ? lines(v) : JSON.stringify(v)}`).join(',\n') + '\n}');
  process.exit(0);
});
