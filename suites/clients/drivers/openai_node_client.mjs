// The official JavaScript client: chat, streams, tools, structured output, responses.

import OpenAI from 'openai';
import { zodResponseFormat, zodFunction } from 'openai/helpers/zod';
import { z } from 'zod';
import { MODEL, QUESTION, URL, assert, run } from './checks.mjs';

const client = new OpenAI({ baseURL: URL, apiKey: 'any', maxRetries: 0 });
const messages = [{ role: 'user', content: QUESTION }];
const Weather = z.object({ city: z.string(), days: z.number().int() });

async function chats() {
  const answer = await client.chat.completions.create({ model: MODEL, messages, temperature: 0 });
  assert(answer.choices[0].message.content.includes('Carroll'));
}

async function streams() {
  let text = '';
  const stream = await client.chat.completions.create({
    model: MODEL, messages, temperature: 0, stream: true, stream_options: { include_usage: true },
  });
  for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? '';
  assert(text.includes('Carroll'), text);
}

async function parsesASchema() {
  const answer = await client.chat.completions.parse({
    model: MODEL, messages, max_tokens: 400, response_format: zodResponseFormat(Weather, 'weather'),
  });
  const { message } = answer.choices[0];
  assert(typeof message.parsed.city === 'string');
  await client.chat.completions.create({
    model: MODEL, messages: [...messages, message, ...messages], max_tokens: 2,
  });
}

// One call at a time: the tiny model would go on with calls for as long as it may.
async function runsATool() {
  const runner = client.chat.completions.runTools({
    model: MODEL, messages, max_tokens: 200, tool_choice: 'required', parallel_tool_calls: false,
    tools: [{
      type: 'function',
      function: {
        name: 'weather', description: 'of a city', parse: JSON.parse,
        parameters: {
          type: 'object', properties: { city: { type: 'string' } }, required: ['city'],
        },
        function: ({ city }) => `rain in ${city}`,
      },
    }],
  }, { maxChatCompletions: 1 });
  const calls = [];
  runner.on('functionToolCall', (call) => calls.push(call.name));
  await runner.done();
  assert(calls.includes('weather'));
}

async function streamsAToolCall() {
  const stream = client.chat.completions.stream({
    model: MODEL, messages, max_tokens: 300, tool_choice: 'required', parallel_tool_calls: false,
    tools: [zodFunction({ name: 'weather', parameters: Weather })],
  });
  const answer = await stream.finalChatCompletion();
  assert(typeof answer.choices[0].message.tool_calls[0].function.parsed_arguments.city === 'string');
}

async function responds() {
  const answer = await client.responses.create({ model: MODEL, input: QUESTION, temperature: 0 });
  assert(answer.output_text.includes('Carroll'));
  const kinds = [];
  const stream = await client.responses.create({
    model: MODEL, input: QUESTION, temperature: 0, stream: true,
  });
  for await (const event of stream) kinds.push(event.type);
  assert(kinds.at(-1) === 'response.completed', kinds.join());
}

await run(['openai'], [
  chats, streams, parsesASchema, runsATool, streamsAToolCall, responds,
]);
