// The page: frames of the camera, or a photo, go to the server that served it; faces come back and are drawn.

const EXPLAIN = 1, PHOTO = 2;   // flags of a frame, as in server.py
const FRAME_SIDE = 640, PHOTO_SIDE = 1600;   // faces show well enough at these sizes, and larger ones take longer
const IN_FLIGHT = 2;   // frames under way: one is read while the next is packed; more would only be older
const CARDS = 6, TONES = 6;

const $ = (id) => document.getElementById(id);
const video = $("video"), stage = $("stage"), photo = $("photo"), still = photo.getContext("2d");
const frame = document.createElement("canvas"), picture = frame.getContext("2d", { willReadFrequently: true });

let socket = null;
let stream = null;
let mode = "idle";   // or "camera", "photo"
let session = 0;     // answers to frames of an earlier one are late and are dropped
let waiting = [];    // the session of each frame under way, in the order of their answers
let packing = false;
let answered = [];   // when answers came, over the last second

// Connection

function connect() {
  if (socket && socket.readyState <= WebSocket.OPEN) return socket.ready;
  socket = new WebSocket(`ws://${location.host}/frames`);
  waiting = [];
  socket.ready = new Promise((resolve, reject) => {
    socket.onopen = resolve;
    socket.onerror = () => reject(new Error("The server does not answer: is minicnn camera --web still running?"));
  });
  socket.onmessage = (event) => receive(JSON.parse(event.data));
  socket.onclose = () => {
    if (mode !== "idle") stop("The connection has ended: is minicnn camera --web still running?");
  };
  return socket.ready;
}

async function send(canvas, flags, quality) {
  const sent = session;
  const jpeg = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", quality));
  if (sent !== session || socket.readyState !== WebSocket.OPEN) return;
  waiting.push(sent);
  socket.send(new Blob([Uint8Array.of(flags | ($("why").checked ? EXPLAIN : 0)), jpeg]));
}

function receive(answer) {
  if (waiting.shift() !== session) return;
  if (answer.error) {
    say(answer.error, true);
    return;
  }
  draw(answer.faces);
  if (mode === "photo") say(count(answer.faces.length));
  if (mode === "camera") measure();
}

// Camera

async function startCamera() {
  stop();
  const started = ++session;
  say("Waiting for the camera …");
  try {
    await connect();
    if (!navigator.mediaDevices) throw new Error("This browser gives no page a camera: choose a photo.");
    const size = { width: { ideal: 640 }, height: { ideal: 480 }, facingMode: "user" };
    const opened = await navigator.mediaDevices.getUserMedia({ video: size, audio: false });
    if (started !== session) return close(opened);
    stream = opened;
    video.srcObject = stream;
    await video.play();
  } catch (error) {
    if (started === session) stop(explain(error));
    return;
  }
  stream.getVideoTracks()[0].onended = () => stop("The camera has gone: was it unplugged?");
  show("camera", video.videoWidth, video.videoHeight);
  say("Running.");
  nextFrame(started);
}

function nextFrame(started) {
  const then = () => {
    if (started !== session) return;
    if (waiting.length < IN_FLIGHT && !packing) grab();
    nextFrame(started);
  };
  if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(then);
  else requestAnimationFrame(then);
}

async function grab() {
  packing = true;
  try {
    fit(frame, video.videoWidth, video.videoHeight, FRAME_SIDE);
    picture.drawImage(video, 0, 0, frame.width, frame.height);
    stage.style.aspectRatio = `${frame.width} / ${frame.height}`;   // a phone that is turned turns its camera
    await send(frame, 0, 0.85);
  } finally {
    packing = false;
  }
}

function stop(why) {
  session += 1;
  mode = "idle";
  answered = [];
  close(stream);
  stream = null;
  video.srcObject = null;
  photo.hidden = true;
  video.hidden = false;
  stage.className = "empty";
  stage.style.aspectRatio = "";
  $("hint").hidden = false;
  $("rate").hidden = true;
  $("start").textContent = "Start camera";
  draw([]);
  say(why || "Ready.", Boolean(why));
}

function close(opened) {
  opened?.getTracks().forEach((track) => track.stop());
}

function explain(error) {
  return {
    NotAllowedError: "The browser does not let this page use the camera: allow it, or choose a photo.",
    NotFoundError: "No camera was found: connect one, or choose a photo.",
    NotReadableError: "The camera cannot be used: another program may have it.",
  }[error.name] || error.message;
}

// Photo

async function showPhoto(file) {
  stop();
  const started = ++session;
  say("Reading the photo …");
  try {
    const image = await createImageBitmap(file).catch(() => {
      throw new Error(`${file.name} is no picture that this browser can show.`);
    });
    await connect();
    if (started !== session) return;
    fit(photo, image.width, image.height, PHOTO_SIDE);
    still.fillStyle = "#fff";   // JPEG knows no transparency
    still.fillRect(0, 0, photo.width, photo.height);
    still.drawImage(image, 0, 0, photo.width, photo.height);
  } catch (error) {
    if (started === session) stop(error.message);
    return;
  }
  show("photo", photo.width, photo.height);
  send(photo, PHOTO, 0.92);
}

// What is seen

function show(what, width, height) {
  mode = what;
  stage.style.aspectRatio = `${width} / ${height}`;
  photo.hidden = what !== "photo";
  video.hidden = what !== "camera";
  $("hint").hidden = true;
  if (what === "camera") $("start").textContent = "Stop camera";
  mirror();
}

function mirror() {
  stage.className = mode === "camera" && $("mirror").checked ? "mirrored" : mode === "idle" ? "empty" : "";
}

function draw(faces) {
  const size = mode === "photo" ? photo : frame;
  const shown = [...faces].sort((one, other) => other.box[2] - one.box[2]);
  const crowded = shown.length > 3;   // labels would cover each other: shares are on the cards
  renew($("boxes"), $("box"), shown, (element, face) => drawBox(element, face, size, crowded));
  renew($("cards"), $("card"), shown.slice(0, CARDS), drawCard);
  $("none").hidden = faces.length > 0;
}

function drawBox(element, face, size, crowded) {
  const [x, y, width, height] = face.box;
  const left = stage.className === "mirrored" ? size.width - x - width : x;
  element.className = `face tone${face.number % TONES}`;
  element.classList.toggle("low", y < 0.08 * size.height);
  element.classList.toggle("right", left > 0.7 * size.width);
  element.style.left = `${100 * left / size.width}%`;
  element.style.top = `${100 * y / size.height}%`;
  element.style.width = `${100 * width / size.width}%`;
  element.style.height = `${100 * height / size.height}%`;
  const share = percent(face.probabilities[face.emotion]);
  element.querySelector("span").textContent = crowded ? face.emotion : `${face.emotion} ${share}`;
  const heat = element.querySelector("canvas");
  heat.hidden = !face.heat;
  if (!face.heat) return;
  const [cropX, cropY, cropWidth, cropHeight] = face.crop;
  const along = stage.className === "mirrored" ? x + width - cropX - cropWidth : cropX - x;
  heat.style.left = `${100 * along / width}%`;
  heat.style.top = `${100 * (cropY - y) / height}%`;
  heat.style.width = `${100 * cropWidth / width}%`;
  heat.style.height = `${100 * cropHeight / height}%`;
  paint(heat, face.heat);
}

function drawCard(element, face) {
  element.className = `tone${face.number % TONES}`;
  element.querySelector("b").textContent = face.emotion;
  element.querySelector("h2 span").textContent = mode === "photo" ? "" : `face ${face.number}`;
  renew(element.querySelector("ul"), $("bar"), Object.entries(face.probabilities), (bar, [name, share]) => {
    bar.className = name === face.emotion ? "top" : "";
    bar.querySelector(".name").textContent = name;
    bar.querySelector(".fill").style.transform = `scaleX(${share})`;
    bar.querySelector(".share").textContent = percent(share);
  });
}

/** Give `parent` one copy of the template for each item, and keep those that are there: frames come fast. */
function renew(parent, template, items, fill) {
  const made = [...parent.children].filter((child) => !child.id);
  while (made.length < items.length) {
    made.push(parent.appendChild(template.content.firstElementChild.cloneNode(true)));
  }
  made.splice(items.length).forEach((child) => child.remove());
  items.forEach((item, index) => fill(made[index], item));
}

/** A heat map, 48 x 48 bytes in base64: nothing where it is cold, over red to yellow. */
function paint(canvas, heat) {
  const context = canvas.getContext("2d"), image = context.createImageData(48, 48);
  const levels = atob(heat);
  for (let i = 0; i < levels.length; i++) {
    const level = levels.charCodeAt(i);
    image.data.set([Math.min(255, 90 + 2 * level), Math.max(0, 2 * level - 255), 30, level], 4 * i);
  }
  context.putImageData(image, 0, 0);
}

function measure() {
  const now = performance.now();
  answered.push(now);
  while (now - answered[0] > 1000) answered.shift();
  $("rate").hidden = answered.length < 2;
  $("rate").value = `${Math.round(1000 * (answered.length - 1) / (now - answered[0]))} frames/s`;
}

function fit(canvas, width, height, side) {
  const factor = Math.min(1, side / Math.max(width, height));
  const wide = Math.max(1, Math.round(width * factor)), high = Math.max(1, Math.round(height * factor));
  if (canvas.width !== wide || canvas.height !== high) {
    canvas.width = wide;
    canvas.height = high;
  }
}

const percent = (share) => `${Math.round(100 * share)} %`;
const count = (faces) => (faces === 0 ? "No face was found." : faces === 1 ? "1 face." : `${faces} faces.`);

function say(line, warn = false) {
  $("status").textContent = line;
  $("status").className = warn ? "warn" : "";
}

$("start").onclick = () => (mode === "camera" ? stop() : startCamera());
$("choose").onclick = () => $("file").click();
$("file").onchange = () => {
  if ($("file").files.length) showPhoto($("file").files[0]);
  $("file").value = "";
};
$("mirror").onchange = mirror;
$("why").onchange = () => {
  if (mode === "photo") send(photo, PHOTO, 0.92);
};
