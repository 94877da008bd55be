import { Buffer } from "node:buffer";
import { invalid, Refusal } from "../_shared/refusal.ts";

const MAX_BYTES = 20 * 1024 * 1024;
export const OTHER_ROUTE = "Ask generate-upload-url for a URL, PUT the file there, and send its storage_path.";

/** In what way a completion brings its output. */
export type Output =
  | { way: "bytes"; bytes: Uint8Array; name: string }
  | { way: "upload"; path: string }
  | { way: "location"; location: string | undefined };

interface Completion {
  claim_token?: string;
  file_data?: string;
  filename?: string;
  output_location?: string;
  storage_path?: string;
}

export function outputOf(body: Completion): Output {
  const ways = (["file_data", "output_location", "storage_path"] as const).filter((way) => body[way] !== undefined);
  if (ways[1]) throw invalid(ways[1], `stands beside ${ways[0]}.`, "Send one of them.");
  // Without a claim token it is an old client, all of whose tasks have an output: it has lost the field.
  if (!ways[0] && body.claim_token === undefined) {
    throw invalid("file_data", "is missing.", "Send file_data and filename, output_location, or storage_path.");
  }
  if (body.filename !== undefined && body.file_data === undefined) {
    throw invalid("filename", "stands without file_data.", "Send both or neither.");
  }
  if (body.storage_path !== undefined) return { way: "upload", path: body.storage_path };
  if (body.file_data === undefined) return { way: "location", location: body.output_location };
  if (body.filename === undefined) throw invalid("filename", "is missing.", "Send the name of the file.");
  return { way: "bytes", bytes: decoded(body.file_data), name: body.filename };
}

function decoded(text: string): Uint8Array {
  if (text.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(text)) {
    throw invalid(
      "file_data",
      "is not base64.",
      "Send plain base64 with padding, without a data: prefix or line ends.",
    );
  }
  const bytes = Buffer.from(text, "base64");
  if (bytes.length === 0) throw invalid("file_data", "is empty.", "Send the bytes of the file.");
  if (bytes.length > MAX_BYTES) {
    const message = `The file has ${bytes.length} bytes; at most ${MAX_BYTES} come this way.`;
    throw new Refusal(413, "too_large", message, { hint: OTHER_ROUTE, details: { limit: MAX_BYTES } });
  }
  return bytes;
}
