// Drives a platform with OpenAI's Node client. Arguments: base URL. Standard input: a WAV file in base64.
// Prints what came back as JSON; tests/api/test_node_client.py looks at it.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [baseURL, folder] = process.argv.slice(2);
const required = createRequire(pathToFileURL(join(folder, "package.json")));
const { default: OpenAI, toFile } = required("openai");
const client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 });
const sound = Buffer.from(readFileSync(0, "utf8"), "base64");

const messages = [{ role: "user", content: "Hi" }];
const weather = {
  type: "function",
  function: {
    name: "weather",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};
const seen = {};

seen.models = [];
for await (const model of client.models.list()) seen.models.push(model.id);
seen.model = (await client.models.retrieve("default")).object;

const answer = await client.chat.completions.create({ model: "default", messages });
seen.chat = { text: answer.choices[0].message.content, tokens: answer.usage.total_tokens };

const stream = await client.chat.completions.create({
  model: "default",
  messages,
  stream: true,
  stream_options: { include_usage: true },
});
seen.streamed = { text: "", usage: null };
for await (const chunk of stream) {
  seen.streamed.text += chunk.choices[0]?.delta?.content ?? "";
  seen.streamed.usage = chunk.usage;
}

const calling = client.chat.completions.stream({
  model: "default",
  messages,
  tools: [weather],
  tool_choice: "required",
});
const called = (await calling.finalChatCompletion()).choices[0];
seen.call = { reason: called.finish_reason, ...called.message.tool_calls[0].function };

const legacy = await client.chat.completions.create({
  model: "default",
  messages,
  functions: [weather.function],
  function_call: { name: "weather" },
});
seen.functionCall = legacy.choices[0].message.function_call;

const vectors = await client.embeddings.create({ model: "all-minilm-l6-v2", input: ["a", "b"] });
seen.dimensions = vectors.data.map((one) => one.embedding.length);

const file = await client.files.create({ file: await toFile(sound, "talk.wav"), purpose: "user_data" });
const content = await client.files.content(file.id);
seen.file = { purpose: file.purpose, bytes: Buffer.from(await content.arrayBuffer()).equals(sound) };
seen.listed = [];
for await (const one of client.files.list()) seen.listed.push(one.id === file.id);
seen.deleted = (await client.files.delete(file.id)).deleted;

seen.transcript = await client.audio.transcriptions.create({
  file: await toFile(sound, "talk.wav"),
  model: "whisper-1",
  response_format: "verbose_json",
});

const moderation = await client.moderations.create({ input: "a kind word" });
seen.moderation = { id: moderation.id, categories: Object.keys(moderation.results[0].categories).length };

const response = await client.responses.create({ model: "default", input: "Hi" });
seen.response = { text: response.output_text, status: response.status };
seen.again = (await client.responses.retrieve(response.id)).id === response.id;
seen.events = [];
for await (const event of await client.responses.create({
  model: "default",
  input: "And?",
  previous_response_id: response.id,
  stream: true,
})) {
  seen.events.push(event.type);
}

seen.errors = {};
for (const [name, ask] of Object.entries({
  missingModel: () => client.models.retrieve("nobody/nothing"),
  badRequest: () => client.chat.completions.create({ model: "default", messages: [] }),
  missingFile: () => client.files.retrieve("file-0"),
})) {
  try {
    await ask();
  } catch (error) {
    seen.errors[name] = {
      kind: error.constructor.name,
      status: error.status,
      code: error.code,
      request: typeof error.requestID,
    };
  }
}

console.log(JSON.stringify(seen));
