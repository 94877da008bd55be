/** One path element of ASCII letters, digits, dot, dash and underscore: the rule of `safe_name` in `blocks/storage`. */
export function safeName(name: string): string {
  const cleaned = name.replace(/[^A-Za-z0-9._-]+/g, "_");
  return cleaned.slice(-120).replace(/^\.+/, "") || "file";
}

const TYPES: Record<string, string> = {
  mp4: "video/mp4",
  webm: "video/webm",
  mov: "video/quicktime",
  mkv: "video/x-matroska",
  gif: "image/gif",
  png: "image/png",
  jpg: "image/jpeg",
  jpeg: "image/jpeg",
  webp: "image/webp",
  wav: "audio/wav",
  mp3: "audio/mpeg",
  json: "application/json",
  txt: "text/plain",
};

export function contentTypeOf(name: string): string {
  return TYPES[name.toLowerCase().split(".").at(-1) ?? ""] ?? "application/octet-stream";
}
