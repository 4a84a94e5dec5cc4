// A WebSocket, or where a proxy kills it the same connection carried by plain requests (docs/fallback.md): an event stream,
// or a long-poll where a proxy holds streams back. To use like a WebSocket: onopen, onmessage, onclose, send, close.
class AnySocket {
  constructor(url, protocols = []) {
    Object.assign(this, {url: new URL(url, location.href), protocols: [protocols].flat(), readyState: 0, protocol: "",
                         number: 0, seen: 0, fresh: 0, queue: [], streams: true});
    const socket = this.socket = new WebSocket(this.url.href.replace(/^http/, "ws"), this.protocols);
    const slow = setTimeout(() => socket.close(), 5000);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => { clearTimeout(slow); this.opened(socket.protocol); };
    socket.onmessage = event => this.onmessage?.({data: event.data});
    socket.onclose = event => {
      clearTimeout(slow);
      if (this.readyState === 0) { this.socket = null; this.begin(); } else this.closed(event.code, event.reason);
    };
  }
  opened(protocol) { this.protocol = protocol; this.readyState = 1; this.onopen?.({}); }
  closed(code, reason = "") {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.leave?.abort();
    this.onclose?.({code, reason, wasClean: code !== 1006});
  }
  send(data) {
    if (this.readyState === 0) throw new DOMException("not open yet", "InvalidStateError");
    if (this.readyState > 1) return;
    if (this.socket) return this.socket.send(data);
    this.enter(typeof data === "string" ? data : {binary: btoa(Array.from(new Uint8Array(data.buffer ?? data,
      data.byteOffset ?? 0, data.byteLength), byte => String.fromCharCode(byte)).join(""))});
  }
  close(code = 1005, reason = "") {
    if (this.readyState > 1) return;
    this.last = [code, reason];
    const carried = this.session && this.readyState === 1;
    this.readyState = 2;
    if (carried) this.enter({close: this.last});
    else if (this.socket) this.socket.close(...(code === 1005 ? [] : this.last));
  }
  at(parameters) {
    const url = new URL(this.url.href.replace(/^ws/, "http"));
    for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
    return url;
  }
  post(parameters, body) {
    return fetch(this.at(parameters), {method: "POST", headers: {"Content-Type": "application/json"}, body});
  }
  async begin() {
    const answer = await this.post({"ws-session": "new"}, JSON.stringify({protocols: this.protocols})).catch(() => null);
    this.session = answer?.ok && answer.headers.get("ws-session");
    if (!this.session) return this.closed(1006);
    if (this.readyState === 2) return this.enter({close: this.last});
    this.opened((await answer.json()).protocol);
    for (let failed = 0; this.readyState < 3; failed++) {                       // the server waits for 30 seconds
      if (await this.hear().catch(() => false)) failed = -1;
      else if (failed === 30) this.closed(1006);
      else await new Promise(done => setTimeout(done, 1000));
    }
  }
  async hear() {
    const leave = this.leave = new AbortController();
    let watch = setTimeout(() => { leave.abort(); this.streams = false; }, this.streams ? 5000 : 60000);
    try {
      const headers = this.streams ? {Accept: "text/event-stream"} : {};
      const answer = await fetch(this.at({"ws-session": this.session, ack: this.seen}), {headers, signal: leave.signal});
      if (answer.status === 410) this.closed(...((await answer.json())[0]?.close ?? [1006]));
      else if (answer.status === 404) this.closed(1006);
      if (!answer.ok) return false;
      if (!this.streams) { for (const entry of await answer.json()) this.heard(...entry); return true; }
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let rest = "", piece; !(piece = await reader.read()).done;) {
        clearTimeout(watch);
        watch = setTimeout(() => leave.abort(), 40000);                         // a comment comes every 15 seconds
        const blocks = (rest + piece.value).split("\n\n");
        rest = blocks.pop();
        for (const block of blocks) {
          const [, id, data] = /^id: (\d+)\ndata: ([^]*)$/.exec(block) ?? [];
          if (id) this.heard(+id, JSON.parse(data));
          if (block.startsWith("event: ping") || (this.fresh += block.length) > 16384) this.say(true);
        }
      }
      return true;
    } finally { clearTimeout(watch); }
  }
  heard(number, entry) {
    if (number <= this.seen || this.readyState === 3) return;
    this.seen = number;
    if (entry.close) { this.say(true); return this.closed(...entry.close); }
    if (this.readyState === 1) this.onmessage?.({data: typeof entry === "string" ? entry :
      Uint8Array.from(atob(entry.binary), letter => letter.charCodeAt(0)).buffer});
  }
  enter(entry) { this.queue.push(JSON.stringify([++this.number, entry])); this.say(); }
  async say(lives = false) {
    this.due ||= lives;
    if (this.saying) return;
    this.saying = true;
    for (let failed = 0; this.queue.length || this.due;) {
      let count = 0;
      for (let size = 0; count < Math.min(64, this.queue.length) && (!count || size < 65536); count++) size += this.queue[count].length;
      this.due = false; this.fresh = 0;
      const answer = await this.post({"ws-session": this.session, ack: this.seen}, `[${this.queue.slice(0, count)}]`).catch(() => null);
      if (answer?.status === 204) { failed = 0; this.queue.splice(0, count); continue; }
      if (this.readyState === 3 || [400, 404, 410].includes(answer?.status) || ++failed > 30) { this.closed(1006); break; }
      if (answer?.status === 413) { this.queue = []; break; }                   // the server's own close says why
      await new Promise(done => setTimeout(done, 1000));
      this.due = true;
    }
    this.saying = false;
    if (this.readyState === 2 && !this.socket && !this.queue.length) this.closed(...this.last);
  }
}
