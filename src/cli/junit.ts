/** One expectation, as continuous integration shows it. */
export interface JunitCase {
  readonly name: string;
  readonly file: string;
  readonly line: number | null;
  /** What was wrong; absent for a case that passed. */
  readonly failure?: { readonly message: string; readonly text: string };
}

/** JUnit XML as Jenkins, GitLab and GitHub read it: one suite for each file. */
export function junitXml(name: string, cases: readonly JunitCase[]): string {
  const files = new Map<string, JunitCase[]>();
  for (const one of cases) files.set(one.file, [...(files.get(one.file) ?? []), one]);
  const failures = (some: readonly JunitCase[]) => some.filter((each) => each.failure !== undefined).length;
  const head = attributes({ name, tests: cases.length, failures: failures(cases), errors: 0 });
  const suites = [...files].flatMap(([file, some]) => [
    `  <testsuite${attributes({ name: file, tests: some.length, failures: failures(some), errors: 0, skipped: 0 })}>`,
    ...some.map(testcase),
    '  </testsuite>',
  ]);
  return `<?xml version="1.0" encoding="UTF-8"?>\n${[`<testsuites${head}>`, ...suites, '</testsuites>'].join('\n')}\n`;
}

function testcase({ name, file, line, failure }: JunitCase): string {
  const open = `    <testcase${attributes({ name, classname: file, file, ...(line !== null && { line }) })}`;
  if (failure === undefined) return `${open}/>`;
  const body = `<failure${attributes({ message: failure.message, type: 'expectation' })}>${escaped(failure.text)}</failure>`;
  return `${open}>${body}</testcase>`;
}

function attributes(of: Readonly<Record<string, string | number>>): string {
  return Object.entries(of)
    .map(([name, value]) => ` ${name}="${escaped(String(value))}"`)
    .join('');
}

/** Of what XML 1.0 §2.2 has no character for, U+FFFD is left. */
function escaped(text: string): string {
  return text
    .toWellFormed()
    .replace(/[^\t\n\r\u{20}-\u{d7ff}\u{e000}-\u{fffd}\u{10000}-\u{10ffff}]/gu, '\ufffd')
    .replace(/[<>&"\t\n\r]/g, (character) => `&#${character.codePointAt(0)};`);
}
