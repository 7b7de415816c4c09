// Vercel's AI SDK with its OpenAI provider (responses by default, chat on request) and the
// provider for compatible servers.

import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { Output, generateText, stepCountIs, streamText, tool } from 'ai';
import { z } from 'zod';
import { MODEL, QUESTION, URL, assert, run } from './checks.mjs';

const openai = createOpenAI({ baseURL: URL, apiKey: 'any' });
const compatible = createOpenAICompatible({
  name: 'stagegate', baseURL: URL, apiKey: 'any', supportsStructuredOutputs: true,
});
const models = {
  responses: openai(MODEL), chat: openai.chat(MODEL), compatible: compatible(MODEL),
};
const shared = { prompt: QUESTION, maxRetries: 0, maxOutputTokens: 300 };
const schema = z.object({ city: z.string(), days: z.number().int() });
const weather = tool({
  description: 'of a city',
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => `rain in ${city}`,
});

async function generatesText() {
  for (const [name, model] of Object.entries(models)) {
    const { text } = await generateText({ ...shared, model, temperature: 0 });
    assert(text.includes('Carroll'), `${name}: ${text}`);
  }
}

async function streamsText() {
  for (const [name, model] of Object.entries(models)) {
    let text = '';
    const errors = [];
    const result = streamText({
      ...shared, model, temperature: 0, onError: ({ error }) => errors.push(error),
    });
    for await (const piece of result.textStream) text += piece;
    assert(errors.length === 0, `${name}: ${errors}`);
    assert(text.includes('Carroll'), `${name}: ${text}`);
  }
}

async function keepsToASchema() {
  for (const [name, model] of Object.entries(models)) {
    const { output } = await generateText({ ...shared, model, output: Output.object({ schema }) });
    assert(typeof output.city === 'string', name);
  }
}

async function callsAToolAndGoesOn() {
  for (const [name, model] of Object.entries(models)) {
    const { steps } = await generateText({
      ...shared, model, tools: { weather },
      // The tiny model would go on with calls for as long as it may.
      providerOptions: {
        openai: { parallelToolCalls: false }, stagegate: { parallel_tool_calls: false },
      },
      stopWhen: stepCountIs(2),
      prepareStep: ({ stepNumber }) => ({ toolChoice: stepNumber === 0 ? 'required' : 'none' }),
    });
    assert(steps.length === 2, name);
    assert(steps[0].toolResults[0].output.startsWith('rain'), name);
  }
}

async function offersToolsBesideASchema() {
  for (const [name, model] of Object.entries(models)) {
    const { output } = await generateText({
      ...shared, model, tools: { weather }, output: Output.object({ schema }),
      stopWhen: stepCountIs(4),
    });
    assert(typeof output.city === 'string', name);
  }
}

await run(['ai', '@ai-sdk/openai', '@ai-sdk/openai-compatible'], [
  generatesText, streamsText, keepsToASchema, callsAToolAndGoesOn, offersToolsBesideASchema,
]);
