// A peer of a stack for Node, `werift` or `wrtc` (the argument): the code of
// the page (../web/page.js) on that stack's RTCPeerConnection.
//
//   PEER_MODULES  the folder whose node_modules has the stack

import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { commands, installed, modules } from '../web/host.mjs';

/**
 * werift wakes every message that waits to be sent each time one leaves, so that its work grows with
 * the square of what waits: with a MiB of small messages 10,000 of them take minutes.
 */
const WERIFT_HIGH_WATER = 1 << 15;

const STACKS = {
  wrtc: async () => {
    const { default: wrtc } = await installed('@roamhq/wrtc');
    return { name: '@roamhq/wrtc', RTCPeerConnection: wrtc.RTCPeerConnection };
  },
  werift: async () => {
    const { RTCPeerConnection, RTCDataChannel } = await installed('werift');
    takeArrayBuffers(RTCDataChannel.prototype);
    globalThis.peerHighWater = WERIFT_HIGH_WATER;
    return { name: 'werift', RTCPeerConnection };
  },
};

/** werift's channels speak Buffer only, where the interface has ArrayBuffer. */
function takeArrayBuffers(channel) {
  const { send, emit } = channel;
  channel.send = function (data) {
    if (data instanceof ArrayBuffer) return send.call(this, Buffer.from(data));
    if (ArrayBuffer.isView(data)) return send.call(this, Buffer.from(data.buffer, data.byteOffset, data.byteLength));
    return send.call(this, data);
  };
  channel.emit = function (type, event, ...rest) {
    if (type !== 'message' || !Buffer.isBuffer(event?.data)) return emit.call(this, type, event, ...rest);
    return emit.call(this, type, { data: Uint8Array.from(event.data).buffer }, ...rest);
  };
}

const stack = process.argv[2];
if (!STACKS[stack]) {
  process.stderr.write(`which stack? one of ${Object.keys(STACKS).join(', ')}\n`);
  process.exit(2);
}
const serve = commands((code) => process.exit(code));
const { name, RTCPeerConnection } = await STACKS[stack]();
globalThis.RTCPeerConnection = RTCPeerConnection;
globalThis.peerEmit = (line) => void process.stdout.write(`${line}\n`);
await import('../web/page.js');
const { version } = JSON.parse(readFileSync(join(modules(), 'node_modules', name, 'package.json')));
globalThis.peer.start(stack, version);
serve((command) => globalThis.peer.line(command));
