(function (player) {
  const frames = JSON.parse(player.querySelector("script[type='application/json']").textContent);
  const image = player.querySelector(".player-screen img");
  const slider = player.querySelector("input");
  const button = player.querySelector("button");
  const moment = player.querySelector("output");
  let timer = null;
  function show(index) {
    slider.value = index;
    image.src = "data:image/png;base64," + frames.images[index];
    moment.textContent = frames.labels[index];
  }
  function stop() { clearInterval(timer); timer = null; button.textContent = "Play"; }
  function play() {
    button.textContent = "Pause";
    timer = setInterval(() => show((Number(slider.value) + 1) % frames.images.length), 90);
  }
  slider.max = frames.images.length - 1;
  slider.addEventListener("input", () => { stop(); show(Number(slider.value)); });
  button.addEventListener("click", () => (timer === null ? play() : stop()));
  show(0);
  if (!matchMedia("(prefers-reduced-motion: reduce), print").matches) play();
})(document.currentScript.closest("figure"));
