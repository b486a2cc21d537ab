import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  evidenceToSwitch,
  followLanguage,
  unknownLanguage,
  type ConversationLanguage,
} from "#infra/language/follow.ts";
import { confidenceMin, identifyLanguage, type Identification } from "#infra/language/identify.ts";

const follow = (...messages: string[]): ConversationLanguage =>
  messages.map(identifyLanguage).reduce(followLanguage, unknownLanguage);

describe("the language of a conversation", () => {
  test("is the first one that is named", () => {
    expect(follow("😀", "lol", "ich hab heute keine lust").language).toBe("de");
  });

  test("does not change for one quoted sentence, nor for emoji and commands after it", () => {
    const quoted = ["wie war dein tag heute", "the quick brown fox is very happy today"];
    expect(follow(...quoted).language).toBe("de");
    expect(follow(...quoted, "😀", "/reset", "ok").language).toBe("de");
  });

  test("changes with the second clear message in the same other language", () => {
    const switched = follow(
      "wie war dein tag heute",
      "sorry, can we speak english please",
      "i do not understand german very well",
    );
    expect(switched).toEqual({ language: "en", rival: null, evidence: 0 });
  });

  test("own messages take a rival's evidence away", () => {
    const back = follow(
      "wie war dein tag heute",
      "that was a really nice day",
      "ich war heute schwimmen und dann im kino",
      "we went to the beach with my friends",
    );
    expect(back.language).toBe("de");
  });

  test("two different rivals do not add up", () => {
    const german = follow("wie war dein tag heute", "that was a really nice day");
    const seen = identifyLanguage("hoy fuimos a la playa con mis amigos");
    expect(followLanguage(german, seen)).toMatchObject({ language: "de", rival: "es" });
  });

  test("doubtful messages need longer", () => {
    const start: ConversationLanguage = { language: "pt", rival: null, evidence: 0 };
    const doubtful: Identification = { language: "es", confidence: confidenceMin };
    let state = start;
    let messages = 0;
    while (state.language === "pt" && messages < 10) {
      state = followLanguage(state, doubtful);
      messages++;
    }
    expect(messages).toBe(5);
  });
});

test("unnamed messages change nothing; evidence stays below the limit; certainty is finite", () => {
  const identification = fc.oneof(
    fc.record({
      language: fc.constantFrom("en" as const, "de" as const, "es" as const),
      confidence: fc.double({ min: confidenceMin, max: 1, noNaN: true }),
    }),
    fc.record({
      language: fc.constant(null),
      confidence: fc.double({ min: 0, max: confidenceMin, noNaN: true }),
    }),
  );
  fc.assert(
    fc.property(fc.array(identification), (seen) => {
      let state = unknownLanguage;
      for (const one of seen) {
        const next = followLanguage(state, one);
        if (one.language === null) expect(next).toEqual(state);
        else if (next.language !== state.language) expect(next.language).toBe(one.language);
        expect(next.evidence).toBeGreaterThanOrEqual(0);
        expect(next.evidence).toBeLessThan(evidenceToSwitch);
        state = next;
      }
    }),
  );
});
