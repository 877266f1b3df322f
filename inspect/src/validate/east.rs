//! Numbers of persons in central and eastern Europe, Turkey and the former Soviet Union.

use super::sums::{is_day, is_mod_11_10, modulo, number, weighted};

/// A birthday whose month tells the century, a counter, and a check digit modulo 10.
pub(super) fn pesel_pl(text: &[u8]) -> bool {
    number::<11>(text).is_some_and(|digits| {
        let month = (digits[2] * 10 + digits[3]) % 20;
        is_day(month, digits[4] * 10 + digits[5])
            && weighted(&digits, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1]).is_multiple_of(10)
    })
}

/// A Polish tax number: ten digits, the last the sum of the others modulo 11.
pub(super) fn nip_pl(text: &[u8]) -> bool {
    number::<10>(text).is_some_and(|digits| {
        weighted(&digits, &[6, 5, 7, 2, 3, 4, 5, 6, 7]) % 11 == digits[9] && digits[0] != 0
    })
}

/// A Czech or Slovak birth number: a birthday (women's months have 50 more) and a multiple of eleven.
pub(super) fn rodne_cislo_cz(text: &[u8]) -> bool {
    number::<10>(text).is_some_and(|digits| {
        // 20 more when the counters of a day ran out
        let month = (digits[2] * 10 + digits[3]) % 50;
        let month = if month > 20 { month - 20 } else { month };
        // until 1985 a remainder of ten became a zero
        let rest = modulo(&digits[..9], 11) % 10;
        is_day(month, digits[4] * 10 + digits[5]) && rest == digits[9]
    })
}

/// Romania: sex and century, a birthday, a county, a counter, a check digit modulo 11.
pub(super) fn cnp_ro(text: &[u8]) -> bool {
    number::<13>(text).is_some_and(|digits| {
        let rest = weighted(&digits, &[2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9]) % 11;
        digits[0] != 0
            && is_day(digits[3] * 10 + digits[4], digits[5] * 10 + digits[6])
            && digits[12] == if rest == 10 { 1 } else { rest }
    })
}

/// Bulgaria: a birthday whose month tells the century, and a check digit modulo 11.
pub(super) fn egn_bg(text: &[u8]) -> bool {
    number::<10>(text).is_some_and(|digits| {
        let month = digits[2] * 10 + digits[3];
        month < 53
            && is_day(month % 20, digits[4] * 10 + digits[5])
            && weighted(&digits, &[2, 4, 8, 5, 10, 9, 7, 3, 6]) % 11 % 10 == digits[9]
    })
}

/// Croatia: eleven digits by ISO 7064.
pub(super) fn oib_hr(text: &[u8]) -> bool {
    number::<11>(text).is_some_and(|digits| is_mod_11_10(&digits))
}

/// What was Yugoslavia: a birthday, a region, a counter, a check digit modulo 11.
pub(super) fn jmbg_yu(text: &[u8]) -> bool {
    number::<13>(text).is_some_and(|digits| {
        let rest = weighted(&digits, &[7, 6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11;
        matches!(digits[4], 0 | 8 | 9)
            && is_day(digits[2] * 10 + digits[3], digits[0] * 10 + digits[1])
            && digits[12] == (11 - rest) % 11
    })
}

/// Estonia and Lithuania: sex and century, a birthday, a counter, a check digit by two rows of weights.
pub(super) fn isikukood_ee(text: &[u8]) -> bool {
    number::<11>(text).is_some_and(|digits| {
        let first = weighted(&digits, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 1]) % 11;
        let second = weighted(&digits, &[3, 4, 5, 6, 7, 8, 9, 1, 2, 3]) % 11 % 10;
        matches!(digits[0], 1..=8)
            && is_day(digits[3] * 10 + digits[4], digits[5] * 10 + digits[6])
            && digits[10] == if first == 10 { second } else { first }
    })
}

/// Greece's tax number: powers of two as weights, modulo 11.
pub(super) fn afm_gr(text: &[u8]) -> bool {
    number::<9>(text).is_some_and(|digits| {
        weighted(&digits, &[256, 128, 64, 32, 16, 8, 4, 2]) % 11 % 10 == digits[8]
    })
}

/// Turkey: eleven digits not from zero on, of which the last two check those before them.
pub(super) fn tckn_tr(text: &[u8]) -> bool {
    number::<11>(text).is_some_and(|digits| {
        // seven times the odd places less the even ones; 9 is -1 modulo 10
        let tenth = weighted(&digits, &[7, 9, 7, 9, 7, 9, 7, 9, 7]) % 10;
        let sum: u32 = digits[..10].iter().sum();
        digits[0] != 0 && tenth == digits[9] && sum % 10 == digits[10]
    })
}

/// Russia's pension number: weights 9 to 1, modulo 101.
pub(super) fn snils_ru(text: &[u8]) -> bool {
    number::<11>(text).is_some_and(|digits| {
        let rest = weighted(&digits, &[9, 8, 7, 6, 5, 4, 3, 2, 1]) % 101 % 100;
        rest == digits[9] * 10 + digits[10]
    })
}

/// Russia's tax number of a person: twelve digits, of which the last two check those before them.
pub(super) fn inn_ru(text: &[u8]) -> bool {
    number::<12>(text).is_some_and(|digits| {
        let eleventh = weighted(&digits, &[7, 2, 4, 10, 3, 5, 9, 4, 6, 8]) % 11 % 10;
        let twelfth = weighted(&digits, &[3, 7, 2, 4, 10, 3, 5, 9, 4, 6, 8]) % 11 % 10;
        eleventh == digits[10] && twelfth == digits[11]
    })
}

/// Ukraine's tax number of a person: ten digits, modulo 11.
pub(super) fn rnokpp_ua(text: &[u8]) -> bool {
    // the first weight is -1
    number::<10>(text).is_some_and(|digits| {
        weighted(&digits, &[10, 5, 7, 9, 4, 6, 10, 5, 7]) % 11 % 10 == digits[9]
    })
}

#[cfg(test)]
mod tests {
    use super::super::vectors;
    use super::*;

    #[test]
    fn numbers_of_eastern_europe() {
        // the specimens of the offices, and those that encyclopedias and number libraries show
        vectors(pesel_pl, &["44051401359", "02070803628"], &["44051401358", "44053101359"]);
        vectors(nip_pl, &["856-734-62-15"], &["856-734-62-14"]);
        vectors(rodne_cislo_cz, &["710319/2745", "780123/3540"], &["710319/2746", "711319/2745"]);
        vectors(cnp_ro, &["1630615123457"], &["1630615123458", "8800101221144"]);
        vectors(egn_bg, &["7523169263", "8032056031"], &["7552A10004", "8019010008"]);
        vectors(oib_hr, &["33392005961"], &["33392005962"]);
        vectors(jmbg_yu, &["0101006500006"], &["0101006500007", "3201006500006"]);
        vectors(isikukood_ee, &["36805280109", "33309240064"], &["36805280108", "99805280109"]);
        vectors(afm_gr, &["094259216"], &["123456781"]);
        vectors(tckn_tr, &["17291716060", "10000000146"], &["17291716050", "07291716092"]);
        vectors(snils_ru, &["112-233-445 95"], &["112-233-445 96"]);
        vectors(inn_ru, &["123456789047", "500100732259"], &["123456789037"]);
        vectors(rnokpp_ua, &["1759013776"], &["1759013770"]);
    }
}
