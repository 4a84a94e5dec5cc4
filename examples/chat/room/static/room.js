const lines = document.querySelector("#lines");
const state = document.querySelector("#state");
const form = document.querySelector("#say");
const how = document.querySelector("#how");
const wait = seconds => new Promise(done => setTimeout(done, seconds * 1000));
let last = 0;           // the number of the newest line shown
let stop = () => {};    // ends the way of listening that is in use

function show(line) {
  if (line.id <= last) return;
  last = line.id;
  const near = lines.scrollHeight - lines.scrollTop - lines.clientHeight < 80;
  const item = lines.appendChild(document.createElement("li"));
  for (const [tag, text] of [["b", line.name], ["span", line.text], ["time", new Date(line.at).toLocaleTimeString()]])
    item.appendChild(document.createElement(tag)).textContent = text;     // textContent: never markup
  if (near) item.scrollIntoView();
}

function tell(live, text) {
  state.className = live ? "live" : "";
  state.textContent = text;
}

async function longPoll() {
  const leave = new AbortController();
  stop = () => leave.abort();
  tell(true, "held by a long-poll");
  while (!leave.signal.aborted) {
    try {
      const answer = await fetch(`poll?after=${last}`, {signal: leave.signal});
      if (!answer.ok) throw new Error(answer.status);
      (await answer.json()).forEach(show);
      tell(true, "held by a long-poll");
    } catch (error) {
      if (leave.signal.aborted) return;
      tell(false, "away, trying again …");
      await wait(1);
    }
  }
}

function eventStream() {
  const source = new EventSource(`stream?after=${last}`);
  stop = () => source.close();
  source.onopen = () => tell(true, "an event stream is open");
  source.onmessage = event => show(JSON.parse(event.data));
  source.onerror = () => {
    tell(false, "away, trying again …");
    if (source.readyState === EventSource.CLOSED) wait(1).then(() => source === current && listen());
  };
  current = source;
}

let current = null;
function listen() {
  stop();
  current = null;
  (how.querySelector(":checked").value === "stream" ? eventStream : longPoll)();
}

form.addEventListener("submit", async event => {
  event.preventDefault();
  const said = new FormData(form);
  localStorage.setItem("name", said.get("name"));
  const answer = await fetch(form.action, {method: "POST", body: said}).catch(() => null);
  if (answer?.ok) form.elements.text.value = "";
  else tell(false, "that was not said; please try again");
  form.elements.text.focus();
});

form.elements.name.value = localStorage.getItem("name") || "";
how.addEventListener("change", listen);
listen();
