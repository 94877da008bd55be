// One function's isolate. Takes the handler that its module hands to Deno.serve, or its default export's `fetch`.
// deno-lint-ignore-file no-explicit-any

type Handler = (request: Request, info: unknown) => Response | Promise<Response>;
type Question = { id: number; method: string; url: string; headers: [string, string][]; body?: ArrayBuffer };

const port = self as any;
let handler: Handler | undefined;

(globalThis as any).EdgeRuntime = {
  waitUntil<T>(work: Promise<T>): Promise<T> {
    work.catch((error) => console.error("waitUntil:", error));
    return work;
  },
};
(Deno as any).serve = (...given: any[]) => {
  handler = given.find((one) => typeof one === "function") ?? given.find((one) => one?.handler)?.handler;
  const addr = { transport: "tcp", hostname: "0.0.0.0", port: 9999 };
  return { finished: new Promise(() => {}), addr, ref() {}, unref() {}, shutdown: () => Promise.resolve() };
};

async function load(name: string, entry: string) {
  for (const level of ["log", "info", "warn", "error", "debug"] as const) {
    const write = console[level].bind(console);
    console[level] = (...words: unknown[]) => write(`[${name}]`, ...words);
  }
  try {
    const module = await import(entry);
    if (typeof module.default?.fetch === "function") handler ??= (request) => module.default.fetch(request);
    if (!handler) throw new Error("The module neither calls Deno.serve nor exports default { fetch }.");
    port.postMessage({ kind: "ready" });
  } catch (error) {
    port.postMessage({ kind: "failed", reason: String((error as Error).stack ?? error) });
  }
}

async function answered(question: Question): Promise<Response> {
  const { url, method, headers, body } = question;
  try {
    const info = { remoteAddr: { transport: "tcp", hostname: "127.0.0.1", port: 0 }, completed: Promise.resolve() };
    return await handler!(new Request(url, { method, headers, body }), info);
  } catch (error) {
    console.error(error);
    const message = "Function exited due to an error (please check logs)";
    return Response.json({ code: "WORKER_ERROR", message }, { status: 500 });
  }
}

async function answer(question: Question) {
  const { id } = question;
  const response = await answered(question);
  const empty = response.body === null;
  port.postMessage({ kind: "head", id, status: response.status, headers: [...response.headers], empty });
  try {
    if (response.body) {
      for await (const bytes of response.body) port.postMessage({ kind: "chunk", id, bytes });
    }
    port.postMessage({ kind: "end", id });
  } catch (error) {
    console.error(error);
    port.postMessage({ kind: "end", id, reason: String(error) });
  }
}

port.onmessage = ({ data }: MessageEvent) => data.entry ? load(data.name, data.entry) : answer(data);
