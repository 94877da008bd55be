// A user of supabase-js. Prints what it found as one JSON document.
import { createClient } from "npm:@supabase/supabase-js@2.119.1";

const url = Deno.env.get("STACK_URL")!;
const options = { auth: { persistSession: false, autoRefreshToken: false } };
const user = createClient(url, Deno.env.get("PUBLISHABLE_KEY")!, options);
const service = createClient(url, Deno.env.get("SECRET_KEY")!, options);
const seen: Record<string, unknown> = {};

const email = `${crypto.randomUUID()}@example.com`;
const { data: signedUp } = await user.auth.signUp({ email, password: "a password" });
seen.user = signedUp.user!.id;
seen.claims = (await user.auth.getClaims()).data?.claims.sub;
seen.inserted = (await user.from("notes").insert({ title: "from js" }).select().single()).data;
seen.counted = await user.from("notes").select("title", { count: "exact" }).like("title", "from%").limit(1);
seen.missing = await user.from("notes").select().eq("id", -1).single();
seen.embedded = await user.from("notes").select("*, users(*)");
seen.sum = (await user.rpc("add", { p_left: 2, p_right: 3 })).data;
seen.refused = (await service.rpc("refuse", { p_state: "LT001" })).error;
seen.edge = (await user.functions.invoke("hello", { body: { a: 1 } })).data;

const films = service.storage.from("films");
const folder = crypto.randomUUID();
await films.upload(`${folder}/film.mp4`, new Blob(["frames"]), { contentType: "video/mp4" });
seen.listed = (await films.list(folder)).data?.map((entry) => entry.name);
seen.downloaded = await (await films.download(`${folder}/film.mp4`)).data?.text();
const signed = await films.createSignedUrl(`${folder}/film.mp4`, 60);
seen.signed = await (await fetch(signed.data!.signedUrl)).text();
const upload = await films.createSignedUploadUrl(`${folder}/token.mp4`);
await user.storage.from("films").uploadToSignedUrl(upload.data!.path, upload.data!.token, new Blob(["by token"]));
seen.signedUpload = await (await films.download(`${folder}/token.mp4`)).data?.text();

seen.users = (await service.auth.admin.listUsers({ perPage: 1000 })).data.users.map((one) => one.id);
seen.otp = (await user.auth.signInWithOtp({ email: "a@example.com" })).error?.status;
console.log(JSON.stringify(seen));
