/** What a deployed function is told by its environment. Read once, on the first request. */
export interface Settings {
  url: string;
  /** Where clients reach the project, if that is another address than the one functions use. */
  publicUrl: string;
  /** Every key that makes its bearer the service; the first one is ours to use. */
  secretKeys: [string, ...string[]];
  /** The shared secret of a project whose sessions are still HS256. */
  jwtSecret: string | undefined;
  bucket: string;
  /** Requests of one caller, and failed authentications of one address. */
  requests: Rate;
  failures: Rate;
}

export interface Rate {
  perSecond: number;
  burst: number;
}

let known: Settings | undefined;

export function settings(): Settings {
  return known ??= read();
}

function read(): Settings {
  const url = need("SUPABASE_URL").replace(/\/+$/, "");
  const legacy = Deno.env.get("SUPABASE_SERVICE_ROLE_KEY");
  const named: Record<string, string> = JSON.parse(Deno.env.get("SUPABASE_SECRET_KEYS") || "{}");
  const [first, ...others] = [...Object.values(named), ...(legacy ? [legacy] : [])].filter((key) => key.length >= 20);
  if (!first) throw new Error("Neither SUPABASE_SECRET_KEYS nor SUPABASE_SERVICE_ROLE_KEY holds a key.");
  return {
    url,
    publicUrl: (Deno.env.get("LONGTAKE_PUBLIC_URL") || url).replace(/\/+$/, ""),
    secretKeys: [first, ...others],
    jwtSecret: Deno.env.get("SUPABASE_JWT_SECRET") || Deno.env.get("JWT_SECRET") || undefined,
    bucket: Deno.env.get("SUPABASE_VIDEO_BUCKET") || "image_uploads",
    requests: { perSecond: number("LONGTAKE_RATE_PER_SECOND", 50), burst: number("LONGTAKE_RATE_BURST", 200) },
    failures: { perSecond: number("LONGTAKE_FAILURES_PER_SECOND", 1), burst: number("LONGTAKE_FAILURES_BURST", 30) },
  };
}

function need(name: string): string {
  const value = Deno.env.get(name);
  if (!value) throw new Error(`${name} is not set.`);
  return value;
}

function number(name: string, otherwise: number): number {
  const value = Number(Deno.env.get(name) || otherwise);
  if (!(value > 0)) throw new Error(`${name} must be a number above 0.`);
  return value;
}
