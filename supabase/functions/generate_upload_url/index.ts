export { default } from "../generate-upload-url/index.ts";
