use watchkeeper_testing::laws;

use crate::ErrorLoop;

#[test]
fn it_obeys_the_laws_of_detectors() {
    for of in ["failure", "error", "retry", "compaction"] {
        laws::check::<ErrorLoop>(&format!("of = '{of}'"));
    }
    laws::check::<ErrorLoop>("of = 'retry'\nwithin = '10s'");
}
