// What the matrix says of werift, shown between two of its own or on its own
// classes: nothing of Peerloom takes part. One JSON line for each claim.
//
//   PEER_MODULES  the folder whose node_modules has werift

import { Socket } from 'node:dgram';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { modules } from '../web/host.mjs';

const require = createRequire(join(modules(), 'werift-faults.cjs'));
const werift = require('werift');
const inner = (path) => require(join(modules(), 'node_modules/werift/lib', path));

/** How long something may take that has to come, and how long is waited for what must not. */
const COMES = 20_000;
const NEVER = 6_000;

async function come(arm, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited in vain for ${what}`)), COMES);
  });
  const value = await Promise.race([new Promise(arm), late]);
  clearTimeout(timer);
  return value;
}

/** Two peer connections; candidates travel in the descriptions. */
async function negotiate(from, to, change = (sdp) => sdp) {
  await from.setLocalDescription(await from.createOffer());
  const { type, sdp } = from.localDescription;
  await to.setRemoteDescription({ type, sdp: change(sdp) });
  await to.setLocalDescription(await to.createAnswer());
  const answer = to.localDescription;
  await from.setRemoteDescription({ type: answer.type, sdp: change(answer.sdp) });
}

async function connected(options, change) {
  const [a, b] = [0, 1].map(() => new werift.RTCPeerConnection({ iceServers: [] }));
  const channel = a.createDataChannel('first', options);
  const theirs = come((done) => b.onDataChannel.subscribe(done), 'the channel');
  await negotiate(a, b, change);
  const other = await theirs;
  if (channel.readyState !== 'open') await come((done) => (channel.onopen = () => done()), 'open');
  return { a, b, channel, other, close: () => Promise.all([a.close(), b.close()]) };
}

/** RFC 8832, section 5.1: the type of a channel says whether it is ordered, and how unreliable. */
async function orderedThere() {
  const pair = await connected({ ordered: false, maxRetransmits: 0 });
  const seen = { here: pair.channel.ordered, there: pair.other.ordered };
  await pair.close();
  return { holds: seen.there === true && seen.here === false, seen };
}

/** RFC 8831, section 6.6: an empty message is one byte, with a type of its own. */
async function emptyMessages() {
  const pair = await connected();
  const got = [];
  pair.other.onMessage.subscribe((data) => got.push(String(data)));
  pair.channel.send('full');
  pair.channel.send('');
  for (let wait = 0; !got.includes('') && wait < NEVER; wait += 10) await sleep(10);
  await pair.close();
  return { holds: got.join() === 'full', seen: got };
}

/** W3C WebRTC, section 6.1.1: `maxMessageSize` is what the other side takes. */
async function sizes() {
  const taken = 262_144;
  const pair = await connected({}, (sdp) => sdp.replace(/a=max-message-size:\d+/, `a=max-message-size:${taken}`));
  const said = pair.a.sctp.maxMessageSize;
  let refused = false;
  try {
    pair.channel.send(Buffer.alloc(said + 1));
  } catch {
    refused = true;
  }
  await pair.close();
  return { holds: said < taken && !refused, seen: { said, refused } };
}

/** The local user fragment of a description. */
const fragment = (description) => description.sdp.match(/a=ice-ufrag:(\S+)/)[1];

/** Whether a datagram is a STUN binding request (RFC 8489, section 5). */
const isCheck = (datagram) => datagram.length >= 20 && datagram.readUInt16BE(0) === 1;

/** RFC 8445, section 9 and 7.2.2: after a restart both sides check, by the name of both new fragments. */
async function restart() {
  const names = [];
  const { send } = Socket.prototype;
  Socket.prototype.send = function (datagram, ...rest) {
    const bytes = Buffer.from(datagram);
    if (isCheck(bytes)) names.push(bytes.toString('latin1'));
    return send.call(this, datagram, ...rest);
  };
  const { a, b, close } = await connected();
  const fragments = () => [a, b].map((end) => fragment(end.localDescription));
  const checks = ([one, two]) => names.filter((name) => name.includes(`${one}:${two}`) || name.includes(`${two}:${one}`)).length;
  const old = fragments();
  await a.setLocalDescription(await a.createOffer({ iceRestart: true }));
  await b.setRemoteDescription(a.localDescription);
  await b.setLocalDescription(await b.createAnswer());
  await a.setRemoteDescription(b.localDescription);
  const renewed = fragments();
  await sleep(NEVER);
  Socket.prototype.send = send;
  const seen = { before: checks(old), after: checks(renewed), anew: new Set([...old, ...renewed]).size === 4 };
  await close();
  return { holds: seen.before > 0 && seen.anew && seen.after === 0, seen };
}

/**
 * RFC 8831, section 6.7: a channel is closed when its own stream is reset. One that takes the id
 * again as soon as it is said to be free goes with the one before it, and the acknowledgement
 * (RFC 8832, section 5.2) that then comes for it is an error nobody catches.
 */
async function reusedId() {
  const { a, channel, close } = await connected();
  const closed = come((done) => (channel.onclose = () => done()), 'close');
  channel.close();
  await closed;
  const again = a.createDataChannel('again', { id: channel.id });
  const states = [];
  again.stateChange.subscribe((state) => states.push(state));
  for (let wait = 0; !states.includes('closed') && wait < NEVER; wait += 10) await sleep(10);
  const ACKNOWLEDGEMENT = Buffer.from([2]);
  const error = await a.sctpTransport.datachannelReceive(channel.id, 50, ACKNOWLEDGEMENT).catch(({ message }) => message);
  await close();
  return { holds: states.includes('closed') && error === 'channel not found', seen: { states, error } };
}

/**
 * RFC 9260, section 6.6: what is complete and in order is delivered. Of three messages of a
 * stream the middle one came last, and the last one lies behind a message of another stream.
 */
function heldBack() {
  const { InboundStream } = inner('sctp/src/sctp.js');
  const stream = new InboundStream();
  const WHOLE = 3;
  const chunk = (tsn, streamSeqNum) =>
    ({ tsn, streamId: 1, streamSeqNum, flags: WHOLE, protocol: 51, userData: Buffer.from(`${streamSeqNum}`) });
  const delivered = [];
  for (const next of [chunk(1, 0), chunk(4, 2), chunk(2, 1)]) {
    stream.addChunk(next);
    for (const [, , data] of stream.popMessages()) delivered.push(String(data));
  }
  const waits = stream.reassembly.length;
  for (const [, , data] of stream.popMessages()) delivered.push(`later ${data}`);
  return { holds: delivered.join() === '0,1,later 2' && waits === 1, seen: delivered };
}

/** DTLS records of a datagram, with what of a handshake is in the clear. */
function* records(datagram) {
  for (let at = 0; at + 13 <= datagram.length; ) {
    const length = datagram.readUInt16BE(at + 11);
    const body = datagram.subarray(at + 13, at + 13 + length);
    yield {
      type: datagram[at],
      epoch: datagram.readUInt16BE(at + 3),
      number: datagram.readUIntBE(at + 5, 6),
      handshake: body[0],
      body,
      raw: datagram.subarray(at, at + 13 + length),
    };
    at += 13 + length;
  }
}

const HANDSHAKE = 22;
const DATA = 23;
const CERTIFICATE = 11;
const KEY_EXCHANGE = 16;

/** A DTLS client and server of werift over nothing but calls; `sent` has what each sent. */
async function handshaken() {
  const { DtlsClient } = inner('dtls/src/client.js');
  const { DtlsServer } = inner('dtls/src/server.js');
  const { CipherContext } = inner('dtls/src/context/cipher.js');
  const { HashAlgorithm, SignatureAlgorithm } = inner('dtls/src/cipher/const.js');
  const signatureHash = { hash: HashAlgorithm.sha256_4, signature: SignatureAlgorithm.ecdsa_3 };
  const { keyPem, certPem } = await CipherContext.createSelfSignedCertificateWithKey(signatureHash, 1);
  const sent = { client: [], server: [] };
  const ends = {};
  const transport = (me, other) => ({
    send: async (datagram) => {
      sent[me].push(...records(Buffer.from(datagram)));
      setImmediate(() => ends[other].onData(Buffer.from(datagram), ['x', 1]));
    },
    close: async () => {},
  });
  [ends.client, ends.server] = [transport('client', 'server'), transport('server', 'client')];
  const options = { cert: certPem, key: keyPem, signatureHash, extendedMasterSecret: true };
  const server = new DtlsServer({ ...options, transport: ends.server });
  const client = new DtlsClient({ ...options, transport: ends.client });
  const both = [client, server].map((end) => come((done) => end.onConnect.subscribe(() => done()), 'DTLS'));
  await client.connect();
  await Promise.all(both);
  return { client, server, ends, sent };
}

const shown = (list, epoch, type) => list.filter((record) => record.epoch === epoch && record.type === type);

/** RFC 6347, section 4.2.4: a flight that is asked for again is sent as it was. */
async function newKeys() {
  const { ends, sent } = await handshaken();
  // The key that it sends, in the clear whatever the epoch.
  const keys = () =>
    sent.client
      .filter((record) => record.type === HANDSHAKE && record.handshake === KEY_EXCHANGE && record.body[3] < 100)
      .map((record) => record.body.subarray(12).toString('hex'));
  const before = keys();
  const flight = shown(sent.server, 0, HANDSHAKE).filter((record) => record.handshake >= CERTIFICATE);
  for (const record of flight) ends.client.onData(record.raw, ['x', 1]);
  for (let wait = 0; keys().length === before.length && wait < NEVER; wait += 10) await sleep(10);
  const after = keys().slice(before.length);
  return { holds: before.length === 1 && after.some((key) => key !== before[0]), seen: { before, after } };
}

/** RFC 6347, section 4.1.2.6: no two records of an epoch have the same number. */
async function numbers() {
  const { client, sent } = await handshaken();
  const finished = shown(sent.client, 1, HANDSHAKE).map((record) => record.number);
  for (let count = 0; count <= Math.max(...finished); count += 1) await client.send(Buffer.from('data'));
  const data = shown(sent.client, 1, DATA).map((record) => record.number);
  return { holds: data.some((number) => finished.includes(number)), seen: { finished, data } };
}

const CLAIMS = { orderedThere, emptyMessages, sizes, restart, reusedId, heldBack, newKeys, numbers };

for (const [claim, show] of Object.entries(CLAIMS)) {
  const said = await Promise.resolve()
    .then(show)
    .catch((error) => ({ holds: false, seen: String(error?.stack ?? error) }));
  process.stdout.write(`${JSON.stringify({ claim, ...said })}\n`);
}
process.exit(0);
