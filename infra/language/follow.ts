/**
 * The language of a conversation, from what its messages look like one by one. Pure; the caller
 * keeps the state. The rule:
 *
 * 1. The first named language is taken at once.
 * 2. An unnamed message (`language: null`) changes nothing: low confidence never switches.
 * 3. A message in another language adds its log-odds, ln(c / (1 − c)), at most `evidencePerMessage`,
 *    to the evidence for that rival; a different rival starts anew.
 * 4. A message in the conversation's own language takes its log-odds off again.
 * 5. At `evidenceToSwitch` the rival becomes the language. As one message cannot give that much, a
 *    single quoted sentence never switches; two clear ones do, doubtful ones take up to five.
 */
import type { Identification } from "#infra/language/identify.ts";
import type { Language } from "#infra/language/profiles.ts";

export interface ConversationLanguage {
  readonly language: Language | null;
  readonly rival: Language | null;
  /** Log-odds gathered for the rival, 0…`evidenceToSwitch`. */
  readonly evidence: number;
}

export const unknownLanguage: ConversationLanguage = { language: null, rival: null, evidence: 0 };
export const evidencePerMessage = 3;
export const evidenceToSwitch = 5;

export function followLanguage(
  now: ConversationLanguage,
  { language: seen, confidence }: Identification,
): ConversationLanguage {
  if (seen === null) return now;
  if (now.language === null) return { language: seen, rival: null, evidence: 0 };
  const added = Math.min(evidencePerMessage, Math.log(confidence / (1 - confidence)));
  if (seen === now.language) {
    const left = now.evidence - added;
    return left > 0 ? { ...now, evidence: left } : { ...now, rival: null, evidence: 0 };
  }
  const evidence = (seen === now.rival ? now.evidence : 0) + added;
  if (evidence >= evidenceToSwitch) return { language: seen, rival: null, evidence: 0 };
  return { language: now.language, rival: seen, evidence };
}
