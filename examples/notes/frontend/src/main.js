import "./style.css";

const list = document.querySelector("#notes");

async function show() {
  const notes = await (await fetch("/api/notes")).json();
  list.replaceChildren(
    ...notes.map((text) => Object.assign(document.createElement("li"), { textContent: text })),
  );
}

document.querySelector("#add").addEventListener("submit", async (event) => {
  event.preventDefault();
  await fetch("/api/notes", { method: "POST", body: new FormData(event.target) });
  event.target.reset();
  await show();
});

show();
