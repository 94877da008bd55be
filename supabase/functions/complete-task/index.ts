// The holder has finished: with the bytes of its output, with the place of an upload, or with a URL.
import { serve } from "../_shared/serve.ts";
import { completeWithFile, type Outcome } from "./file.ts";
import { OTHER_ROUTE, outputOf } from "./output.ts";

export default serve({
  scope: "work",
  limit: 28 * 1024 * 1024, // 20 MB as base64, and the other fields
  tooLarge: OTHER_ROUTE,
  fields: {
    task_id: "text",
    claim_token: "text?",
    file_data: "text?",
    filename: "text?",
    output_location: "text?",
    storage_path: "text?",
    result: "object?",
  },
  async answer({ body, queue }) {
    const output = outputOf(body);
    const holder = { p_task_id: body.task_id, p_claim_token: body.claim_token };
    const complete = (p_output_location?: string) =>
      queue.hold<Outcome>("complete_task", { ...holder, p_output_location, p_result: body.result });

    const outcome = output.way === "location"
      ? await complete(output.location)
      : await completeWithFile(output, queue, holder, complete);
    const message = output.way === "bytes" ? "Task completed and file uploaded successfully" : "Task completed";
    // A repetition is told what was accepted the first time.
    return { success: true, public_url: outcome.task.output_location, message, outcome };
  },
});
