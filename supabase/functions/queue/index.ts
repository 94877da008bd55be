// The verbs that have no function of their own, for workers that have only a token. The answer is the SQL function's.
import { rpc } from "../_shared/database.ts";
import { checked } from "../_shared/fields.ts";
import { invalid, type JsonObject, Refusal } from "../_shared/refusal.ts";
import { demand, serve } from "../_shared/serve.ts";
import { ARGUMENTS, VERBS } from "./verbs.ts";

export default serve({
  fields: { ...ARGUMENTS, verb: "text" },
  async answer({ body, caller, queue }) {
    const { verb: name, ...others } = body as JsonObject & { verb: string };
    const verb = Object.hasOwn(VERBS, name) ? VERBS[name] : undefined;
    if (!verb) throw invalid("verb", `is none of ${Object.keys(VERBS).join(", ")}.`);
    if (verb.right === "service" && !caller.isService) {
      throw new Refusal(403, "forbidden", `Only the service may '${name}'.`, { hint: "Use the project's secret key." });
    }
    if (verb.right === "enqueue" || verb.right === "work") demand(caller, verb.right);

    const given = Object.entries(others).filter(([, value]) => value !== undefined);
    const fields = checked(Object.fromEntries(given), verb.fields);
    const parameters = Object.fromEntries(Object.entries(fields).map(([field, value]) => [`p_${field}`, value]));
    if (verb.isForAll) return await rpc(verb.function, parameters);
    return verb.isHolders ? await queue.hold(verb.function, parameters) : await queue.ask(verb.function, parameters);
  },
});
