import { greeting } from "../_shared/words.ts";

async function tried(attempt: () => unknown): Promise<string> {
  try {
    await attempt();
    return "allowed";
  } catch (error) {
    return (error as Error).name;
  }
}

Deno.serve(async (request) => {
  const url = new URL(request.url);
  const body = await request.text();
  if (body === "crash") throw new Error("crashed");
  if (body === "late crash") {
    setTimeout(() => {
      throw new Error("crashed later");
    }, 0);
  }
  if (body === "empty") return new Response(null, { status: 204 });
  return Response.json({
    greeting,
    path: url.pathname + url.search,
    length: body.length,
    method: request.method,
    apikey: request.headers.get("apikey"),
    names: Object.keys(Deno.env.toObject()).filter((name) => name.startsWith("SUPABASE_")).sort(),
    secret: JSON.parse(Deno.env.get("SUPABASE_SECRET_KEYS")!).default,
    write: await tried(() => Deno.writeTextFile("/tmp/longtake-test", "x")),
    read: await tried(() => Deno.readTextFile("/etc/passwd")),
    run: await tried(() => new Deno.Command("/bin/true").output()),
    net: await tried(() => fetch("http://192.0.2.1/")),
  });
});
