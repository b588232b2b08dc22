// Package policyfile reads and writes policies as files: YAML, JSON, and lines of JSON for
// large ones. It compares a file with a policy, and describes what changes do.
//
// [Parse] reads a whole file and [ReadLines] a stream. Both are strict, and report all errors
// with their place. [Diff] returns the changes that turn a policy into what a file says, and
// [DescribeChanges] what they change. [File.View] makes a file a policy that can be asked.
//
// Nothing in the package opens a file or reads a clock.
package policyfile
