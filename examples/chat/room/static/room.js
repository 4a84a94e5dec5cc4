const [state, lines, present, form, devices] = ["state", "lines", "present", "say", "devices"]
  .map(id => document.getElementById(id));
const here = new Set();         // the names of those present
const unheard = new Map();      // what was said, until it comes back: key -> message
const again = 1000, settled = 6000;     // ms; the second is more than the 5 s that presence waits for who may come back
let socket, since, asking, name = "", workers = [], by = "", last = 0;
let opened = 0, closed = 0;

const tell = message => { if (socket.readyState === 1) socket.send(JSON.stringify(message)); };

function connect() {
  socket = new AnySocket("room");      // or new WebSocket("room"), where no proxy is in the way
  socket.onopen = () => {
    opened++; since = Date.now(); workers = [];
    by = socket.socket === null ? "requests" : "a WebSocket";
    if (name) tell({name});
  };
  socket.onmessage = event => hear(JSON.parse(event.data));
  socket.onclose = () => { closed += since ? 1 : 0; since = 0; setTimeout(connect, again); status(); };
}

function hear(said) {
  if (said.worker) {                    // the connection is new, or another worker has taken it over
    if (said.worker !== workers.at(-1)) workers.push(said.worker);
    if (!name && said.name) name = form.elements.name.value = said.name;
    unheard.forEach(tell);              // a worker that was killed may have lost it; the key keeps it from being said twice
    clearTimeout(asking);               // others come back a little later: then the list is whole
    asking = setTimeout(tell, settled, {who: true});
    if (workers.length === 1) tell({who: true});
    status();
  }
  said.lines?.forEach(show);
  said.devices?.forEach(showDevice);
  if (said.present) { here.clear(); said.present.forEach(one => here.add(one)); }
  if (said.joined) here.add(said.joined);
  if (said.left) here.delete(said.left);
  if (said.present || said.joined || said.left)
    present.replaceChildren(...[...here].sort().map(one => element("li", one)));
  if (said.refused) { unheard.delete(said.refused); status("that was not said; please try again"); }
}

function element(tag, text) {
  const made = document.createElement(tag);
  made.textContent = text;              // never markup
  return made;
}

function show(line) {
  unheard.delete(line.key);
  if (line.id <= last) return;
  last = line.id;
  const near = lines.scrollHeight - lines.scrollTop - lines.clientHeight < 80;
  const item = lines.appendChild(document.createElement("li"));
  item.append(element("b", line.name), element("span", line.text), element("time", new Date(line.at).toLocaleTimeString()));
  if (near) item.scrollIntoView();
}

function showDevice({name, temperature, power}) {
  const item = [...devices.children].find(one => one.dataset.name === name) ?? newDevice(name);
  const [, reading, button] = item.children;
  reading.textContent = temperature === null ? "" : `${temperature.toFixed(1)} °C`;
  button.hidden = !power;               // it has said nothing of a switch
  button.value = power === "on" ? "off" : "on";         // what a click asks for; what is, only the device says
  button.textContent = `Switch ${button.value}`;
}

function newDevice(name) {
  const item = devices.appendChild(document.createElement("li"));
  item.dataset.name = name;
  item.append(element("b", name), element("span", ""), element("button", ""));
  item.lastChild.onclick = event => tell({switch: name, to: event.target.value});
  return item;
}

function status(text) {
  const seconds = since ? Math.floor((Date.now() - since) / 1000) : 0, minutes = Math.floor(seconds / 60);
  const time = (minutes ? `${minutes} min ` : "") + `${seconds % 60} s`;
  state.className = since ? "live" : "";
  state.textContent = text ?? (!since ? "away, trying again …" :
    `connected for ${time} by ${by}, worker pid ${workers.slice(-4).join(" → ")}`);
  Object.assign(state.dataset, {opened, closed, workers: workers.join(" ")});
}

form.addEventListener("submit", event => {
  event.preventDefault();
  const {name: who, text} = form.elements;
  if (who.value !== name) { name = who.value; localStorage.setItem("name", name); tell({name}); }
  const message = {text: text.value, key: crypto.getRandomValues(new Uint32Array(4)).join("-")};
  unheard.set(message.key, message);
  tell(message);
  text.value = "";
  text.focus();
});

form.elements.name.addEventListener("change", () => {
  name = form.elements.name.value;
  localStorage.setItem("name", name);
  if (name) tell({name});
});

name = form.elements.name.value = localStorage.getItem("name") || "";
setInterval(() => { if (since) status(); }, 1000);
connect();
