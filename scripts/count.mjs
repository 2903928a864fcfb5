/** Ends a run of the checks and tests: `count.mjs <vitest's JSON report> <exit code of the checks> <of the tests>`. */
import { readFileSync } from 'node:fs'

const [reportPath, checked, tested] = process.argv.slice(2)

/** A file that fails before its first test (it does not load, a hook throws) counts as one failed test. */
function count(report) {
  const files = report.testResults
  const failedAlone = files.filter(
    (file) => file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed'),
  )
  return { passed: report.numPassedTests, failed: report.numFailedTests + failedAlone.length }
}

const text = readFileSync(reportPath, 'utf8')
const { passed, failed } = text === '' ? { passed: 0, failed: 0 } : count(JSON.parse(text))
if (text === '') console.log('the tests did not run')
else if (passed + failed === 0) console.log('no test ran')
else if (tested !== '0' && failed === 0)
  console.log(`the test runner failed outside of the tests (exit code ${tested})`)
if (checked !== '0') console.log('the static checks failed')
console.log(`${passed} passed, ${failed} failed`)
process.exitCode = checked === '0' && tested === '0' && failed === 0 && passed > 0 ? 0 : 1
