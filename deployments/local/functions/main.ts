// Serves every function of a project from one process: an isolate (Web Worker) for each, started by its first request.
// Requests and answers go to and fro as messages: an isolate needs no port of its own.

type Settings = { port: number; folder: string; timeout: number; functions: Record<string, string> };
type Answer =
  | { kind: "ready" }
  | { kind: "failed"; reason: string }
  | { kind: "head"; id: number; status: number; headers: [string, string][]; empty: boolean }
  | { kind: "chunk"; id: number; bytes: Uint8Array }
  | { kind: "end"; id: number; reason?: string };
type Waiting = {
  resolve: (response: Response) => void;
  timer: ReturnType<typeof setTimeout>;
  stream?: ReadableStreamDefaultController<Uint8Array>;
};

const settings: Settings = JSON.parse(Deno.args[0]);
const isolates = new Map<string, Isolate>();

function refusal(status: number, code: string, message: string): Response {
  return Response.json({ code, message }, { status });
}

class Isolate {
  readonly ready: Promise<void>;
  #worker: Worker;
  #waiting = new Map<number, Waiting>();
  #next = 0;

  constructor(readonly name: string) {
    this.#worker = new Worker(new URL("./worker.ts", import.meta.url), {
      type: "module",
      name,
      // deno-lint-ignore no-explicit-any
      deno: { permissions: { net: "inherit", env: "inherit", read: "inherit", sys: "inherit" } } as any,
    } as WorkerOptions);
    this.ready = new Promise((resolve, reject) => {
      this.#worker.onmessage = ({ data }: MessageEvent<Answer>) => {
        if (data.kind === "ready") resolve();
        else if (data.kind === "failed") reject(new Error(data.reason));
        else this.#hear(data);
      };
      this.#worker.onerror = (event) => {
        event.preventDefault();
        console.error(`[${name}] ${event.message}`);
        reject(new Error(event.message));
        this.end(() => refusal(500, "WORKER_ERROR", "Function exited due to an error (please check logs)"));
      };
    });
    this.ready.catch(() => this.end());
    this.#worker.postMessage({ name, entry: settings.functions[name] });
  }

  ask(request: Request, path: string, body: ArrayBuffer | undefined): Promise<Response> {
    const id = this.#next++;
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.end(() => refusal(546, "WORKER_LIMIT", "Function took too long to answer (please check logs)"));
      }, settings.timeout);
      this.#waiting.set(id, { resolve, timer });
      this.#worker.postMessage(
        { id, method: request.method, url: path, headers: [...request.headers], body },
        body ? [body] : [],
      );
    });
  }

  /** No more requests; those under way get `answer`. */
  end(answer = () => refusal(503, "BOOT_ERROR", "Function failed to start (please check logs)")) {
    if (isolates.get(this.name) === this) isolates.delete(this.name);
    this.#worker.terminate();
    for (const { resolve, timer, stream } of this.#waiting.values()) {
      clearTimeout(timer);
      stream ? stream.error(new Error("The function ended.")) : resolve(answer());
    }
    this.#waiting.clear();
  }

  #hear(answer: Exclude<Answer, { kind: "ready" | "failed" }>) {
    const waiting = this.#waiting.get(answer.id);
    if (!waiting) return;
    if (answer.kind === "head") {
      const { status, headers } = answer;
      const start = (stream: ReadableStreamDefaultController<Uint8Array>) => void (waiting.stream = stream);
      waiting.resolve(new Response(answer.empty ? null : new ReadableStream({ start }), { status, headers }));
    } else if (answer.kind === "chunk") {
      waiting.stream?.enqueue(answer.bytes);
    } else {
      clearTimeout(waiting.timer);
      this.#waiting.delete(answer.id);
      if (answer.reason) waiting.stream?.error(new Error(answer.reason));
      else waiting.stream?.close();
    }
  }
}

async function serve(request: Request): Promise<Response> {
  const url = new URL(request.url);
  const name = url.pathname.split("/")[1];
  if (!Object.hasOwn(settings.functions, name)) return refusal(404, "NOT_FOUND", "Requested function was not found");
  // Read whole: a body streamed on costs 40 ms (delayed acknowledgement).
  const body = request.body ? await request.arrayBuffer() : undefined;
  const isolate = isolates.get(name) ?? new Isolate(name);
  isolates.set(name, isolate);
  try {
    await isolate.ready;
  } catch (error) {
    console.error(`[${name}]`, error);
    return refusal(503, "BOOT_ERROR", "Function failed to start (please check logs)");
  }
  return await isolate.ask(request, request.url, body);
}

async function restartOnChange() {
  for await (const event of Deno.watchFs(settings.folder)) {
    if (event.kind === "access") continue;
    for (const isolate of [...isolates.values()]) isolate.end();
  }
}

Deno.serve({ hostname: "127.0.0.1", port: settings.port, onListen: () => console.log("functions ready") }, serve);
restartOnChange();
