// The finished segments of a travel, by index: a list, also when there are none.
import { invalid } from "../_shared/refusal.ts";
import { serve } from "../_shared/serve.ts";

export default serve({
  fields: { run_id: "text?", orchestrator_id: "text?", project_id: "uuid?" },
  answer({ body, queue }) {
    const run = body.run_id ?? body.orchestrator_id;
    if (!run) throw invalid("run_id", "is missing.", "Send run_id or orchestrator_id.");
    return queue.ask("completed_segments", { p_run_id: run, p_project_id: body.project_id });
  },
});
