// Clients of MQTT.js by a test's word. In: a line of [number, name, what, ...arguments]; out: lines of [name, event, value].
import {createRequire} from "node:module";
import {createInterface} from "node:readline";

const mqtt = createRequire(process.argv[2] + "/")("mqtt");
const clients = new Map();
const codeOf = error => error.packet?.granted?.[0] ?? error.code ?? error.message;
const say = (...words) => process.stdout.write(JSON.stringify(words) + "\n");

const does = {
  connect(client, done, name, url, options) {
    client = mqtt.connect(url, options);
    clients.set(name, client);
    client.on("connect", ({sessionPresent}) => say(name, "connect", sessionPresent));
    client.on("message", (topic, payload, {qos, retain}) =>
      say(name, "message", [topic, payload.toString("base64"), qos, retain]));
    client.on("disconnect", ({reasonCode}) => say(name, "disconnect", reasonCode));
    client.on("error", error => say(name, "error", codeOf(error)));
    client.on("close", () => say(name, "close", null));
    done();
  },
  subscribe(client, done, name, filter, qos) {
    client.subscribe(filter, {qos}, (error, granted) => done(error ? codeOf(error) : granted[0].qos));
  },
  publish(client, done, name, topic, payload, options) {
    client.publish(topic, Buffer.from(payload, "base64"), options, error => done(error ? codeOf(error) : 0));
  },
  vanish(client, done) {
    client.stream.destroy();
    done();
  },
  comeBack(client, done) {
    const {incomingStore, outgoingStore} = client;
    client.reconnect({incomingStore, outgoingStore});       // else it forgets what it has not sent
    done();
  },
  end(client, done) {
    client.end(false, {}, () => done());
  },
};

createInterface({input: process.stdin}).on("line", line => {
  const [number, name, what, ...rest] = JSON.parse(line);
  does[what](clients.get(name), (value = null) => say(name, "done", [number, value]), name, ...rest);
}).on("close", () => process.exit());
